//! The live view on a terminal: the nodes, the links between the regions, what goes through, redrawn in place every second.
//!
//! Asks the admin endpoints of the nodes and draws what they say; a node that does not answer, or does not say, gets a dash.
//! Plain ANSI, and nothing but what fits the terminal. Called by `run`; on anything but a terminal there is no view.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::control::Mesh;
use super::processes::State;
use super::wan::{Direction, Rule};
use crate::http;

/// What is on the screen.
pub(super) struct View {
    started: Instant,
    lines_drawn: usize,
    /// What each node had published at the last drawing.
    published: Vec<Option<u64>>,
    drawn_at: Instant,
    slo: watch::Receiver<Vec<Probed>>,
    _asking: JoinSet<()>,
}

impl View {
    /// Nothing drawn yet. Called within the runtime.
    pub(super) fn new(mesh: &Arc<Mesh>) -> Self {
        let (now, (answers, slo)) = (Instant::now(), watch::channel(Vec::new()));
        // While links are cut, this answer takes seconds, for which the drawing must not wait.
        let mut asking = JoinSet::new();
        asking.spawn(ask_slo_again_and_again(Arc::clone(mesh), answers));
        Self { started: now, lines_drawn: 0, published: Vec::new(), drawn_at: now, slo, _asking: asking }
    }

    /// Draws the mesh as it is now, over what was drawn before. Cancel safe.
    pub(super) async fn refresh(&mut self, mesh: &Mesh) {
        let nodes = join_all((0..mesh.plan.nodes.len()).map(|index| ask(mesh, index))).await;
        let slo = self.slo.borrow_and_update().clone();
        let rates = self.rates(&nodes, Instant::now());
        let text = render(mesh, &Seen { nodes, rates, slo }, self.started.elapsed());
        let (columns, rows) = terminal_size();
        let lines: Vec<String> = text.lines().take(rows.saturating_sub(1)).map(|line| fit(line, columns)).collect();
        let drawn = format!("{}{}\n", self.erasure(), lines.join("\n"));
        self.lines_drawn = lines.len();
        print(&drawn);
    }

    /// Messages per second that each node published since the last time; none from a node that has been restarted.
    fn rates(&mut self, nodes: &[Answers], now: Instant) -> Vec<Option<f64>> {
        let seconds = now.duration_since(self.drawn_at).as_secs_f64();
        let before = self.published.iter().copied().chain(std::iter::repeat(None));
        let rate = |(node, before): (&Answers, Option<u64>)| {
            let messages = node.published?.checked_sub(before?)?;
            (seconds > 0.0).then(|| messages as f64 / seconds)
        };
        let rates = nodes.iter().zip(before).map(rate).collect();
        self.published = nodes.iter().map(|node| node.published).collect();
        self.drawn_at = now;
        rates
    }

    /// Takes the view off the screen, so that something else can be written there.
    pub(super) fn erase(&mut self) {
        print(&self.erasure());
        self.lines_drawn = 0;
    }

    fn erasure(&self) -> String {
        match self.lines_drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }
}

/// Whoever reads the terminal may have gone; the mesh goes on.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

fn terminal_size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    let size = size.ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
}

fn fit(line: &str, columns: usize) -> String {
    line.chars().take(columns).collect()
}

/// What there is to draw.
struct Seen {
    nodes: Vec<Answers>,
    rates: Vec<Option<f64>>,
    slo: Vec<Probed>,
}

/// What a node says about itself.
#[derive(Debug, Clone, Default, PartialEq)]
struct Answers {
    /// Messages since it was started.
    published: Option<u64>,
    /// The name of each peer and the round trip to it in milliseconds.
    round_trips: Vec<(String, f64)>,
}

/// What arrived of one region's probes in another, as `/v1/slo` says it.
#[derive(Debug, Clone, Deserialize)]
struct Probed {
    from: String,
    to: String,
    received: u64,
    missed: u64,
    /// The share of all, 0 to 1.
    within_250ms: f64,
}

async fn ask(mesh: &Mesh, index: usize) -> Answers {
    let node = &mesh.plan.nodes[index];
    let about = read::<About>(node.admin("/v1/node"), ANSWER_WITHIN);
    let members = read::<Members>(node.admin("/v1/mesh"), ANSWER_WITHIN);
    let (about, members) = join(about, members).await;
    let members = members.map(|answer| answer.members).unwrap_or_default();
    let others = members.into_iter().filter(|member| member.name != node.name.as_str());
    Answers {
        published: about.map(|about| about.published),
        round_trips: others.filter_map(|member| Some((member.name, member.rtt_ms?))).collect(),
    }
}

async fn ask_slo_again_and_again(mesh: Arc<Mesh>, answers: watch::Sender<Vec<Probed>>) {
    loop {
        answers.send_replace(ask_slo(&mesh).await);
        tokio::time::sleep(PROBED_EVERY).await;
    }
}

/// One node answers for all: the first that runs.
async fn ask_slo(mesh: &Mesh) -> Vec<Probed> {
    let running = (0..mesh.plan.nodes.len()).find(|index| mesh.nodes.life(*index).state == State::Running);
    let Some(index) = running else { return Vec::new() };
    let slo = read::<Slo>(mesh.plan.nodes[index].admin("/v1/slo"), PROBED_WITHIN).await;
    slo.map(|slo| slo.pairs).unwrap_or_default()
}

async fn read<T: DeserializeOwned>(url: String, patience: Duration) -> Option<T> {
    http::get(&url, patience).await.ok()?.json().ok()
}

#[derive(Deserialize)]
struct About {
    published: u64,
}

#[derive(Deserialize)]
struct Members {
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    name: String,
    rtt_ms: Option<f64>,
}

#[derive(Deserialize)]
struct Slo {
    pairs: Vec<Probed>,
}

fn render(mesh: &Mesh, seen: &Seen, up_for: Duration) -> String {
    let mut text = String::new();
    let seconds = up_for.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = writeln!(text, "\nup for {hours}:{minutes:02}:{seconds:02}");
    let _ = writeln!(text, "\n{:<16} {:<12} {:>8}  {:<8} {:>10}", "node", "region", "process", "state", "messages/s");
    for (index, node) in mesh.plan.nodes.iter().enumerate() {
        let life = mesh.nodes.life(index);
        let state = match life.state {
            State::Running => "up",
            State::Stopped => "stopped",
            State::Down | State::Ended(_) => "down",
        };
        let (name, region, rate) = (node.name.as_str(), node.region.as_str(), number(seen.rates[index]));
        let _ = writeln!(text, "{name:<16} {region:<12} {:>8}  {state:<8} {rate:>10}", life.pid);
    }
    render_links(mesh, seen, &mut text);
    let _ = writeln!(text, "\ndelivered within 250 ms: {}", percent(share(seen.slo.iter())));
    text.push_str("Ctrl-C stops; `farwire up ctl --help` cuts, kills and heals");
    text
}

fn render_links(mesh: &Mesh, seen: &Seen, text: &mut String) {
    let regions = &mesh.plan.regions;
    if regions.len() > 1 {
        let head = ("regions", "one way", "round trip", "in 250 ms");
        let _ = writeln!(text, "\n{:<22} {:>9}  {:>11}  {:>9}", head.0, head.1, head.2, head.3);
    }
    for (index, a) in regions.iter().enumerate() {
        for b in &regions[index + 1..] {
            let (from, to): (Vec<_>, Vec<_>) = (mesh.plan.nodes_of(a).collect(), mesh.plan.nodes_of(b).collect());
            let rules = rules_between(mesh, &from, &to);
            let delay = rules.iter().map(|rule| rule.delay).max().unwrap_or_default().as_millis();
            let rtt = number(round_trip(mesh, &seen.nodes, &from, &to));
            let ends = [a.as_str(), b.as_str()];
            let probed = seen.slo.iter().filter(|pair| ends.contains(&&*pair.from) && ends.contains(&&*pair.to));
            let (pair, share) = (format!("{a} - {b}"), percent(share(probed)));
            let _ = writeln!(text, "{pair:<22} {delay:>6} ms  {rtt:>8} ms  {share:>9}  {}", faults(&rules));
        }
    }
}

/// The share of all these probes that arrived within 250 ms.
fn share<'a>(probed: impl Iterator<Item = &'a Probed>) -> Option<f64> {
    let (mut in_time, mut sent) = (0.0, 0.0);
    for pair in probed {
        let probes = (pair.received + pair.missed) as f64;
        in_time += pair.within_250ms * probes;
        sent += probes;
    }
    (sent > 0.0).then(|| in_time / sent)
}

fn rules_between(mesh: &Mesh, from: &[usize], to: &[usize]) -> Vec<Rule> {
    let wan = mesh.wan();
    let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
    let both = pairs.flat_map(|(a, b)| [Direction { from: a, to: b }, Direction { from: b, to: a }]);
    both.map(|direction| wan.rule(direction)).collect()
}

fn faults(rules: &[Rule]) -> String {
    let cut = rules.iter().filter(|rule| rule.cut).count();
    let loss = rules.iter().map(|rule| rule.loss).fold(0.0, f64::max) * 100.0;
    let cut = match cut {
        0 => String::new(),
        cut if cut == rules.len() => "cut".to_owned(),
        cut => format!("{cut} of {} directions cut", rules.len()),
    };
    let loss = if loss > 0.0 { format!("{loss} % lost") } else { String::new() };
    [cut, loss].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
}

/// The median of what the nodes of both sides measure.
fn round_trip(mesh: &Mesh, nodes: &[Answers], from: &[usize], to: &[usize]) -> Option<f64> {
    let measured = |here: &[usize], there: &[usize]| {
        let there: Vec<&str> = there.iter().map(|index| mesh.plan.nodes[*index].name.as_str()).collect();
        let links = here.iter().flat_map(|index| &nodes[*index].round_trips);
        links.filter(|(peer, _)| there.contains(&peer.as_str())).map(|(_, rtt_ms)| *rtt_ms).collect::<Vec<_>>()
    };
    let mut all = measured(from, to);
    all.extend(measured(to, from));
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.1}"))
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{:.2} %", share * 100.0))
}

/// Less than the time between two drawings.
const ANSWER_WITHIN: Duration = Duration::from_millis(800);
/// The node that is asked waits two seconds for nodes that it cannot reach.
const PROBED_WITHIN: Duration = Duration::from_secs(5);
const PROBED_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::plan::tests::plan;
    use crate::up::processes::Nodes;
    use crate::up::wan::Wan;
    use std::sync::Mutex;

    fn mesh() -> Mesh {
        let (plan, _) = plan("fra,iad,sin", 1);
        let notices = tokio::sync::mpsc::channel(1).0;
        let nodes = Nodes::new(&plan, "/nowhere".into(), notices.clone()).expect("a thread");
        let wan = Arc::new(Mutex::new(Wan::new(3, 1, |_| Duration::from_millis(44))));
        Mesh { plan, nodes, wan, notices, processes: Default::default() }
    }

    fn probed(from: &str, to: &str, received: u64, missed: u64, within_250ms: f64) -> Probed {
        Probed { from: from.into(), to: to.into(), received, missed, within_250ms }
    }

    #[tokio::test]
    async fn the_view_shows_nodes_links_and_what_is_wrong_with_them() {
        let mesh = mesh();
        let there = Direction { from: 0, to: 1 };
        mesh.wan().change(there, |rule| rule.cut = true);
        mesh.wan().change(Direction { from: 1, to: 2 }, |rule| rule.loss = 0.025);
        let mut nodes = vec![Answers::default(); 3];
        nodes[0].round_trips = vec![("iad-1".to_owned(), 88.9), ("sin-1".to_owned(), 160.2)];
        let slo = vec![probed("fra", "iad", 90, 10, 0.8), probed("iad", "fra", 100, 0, 1.0)];
        let seen = Seen { nodes, rates: vec![Some(12.34), None, None], slo };
        let text = render(&mesh, &seen, Duration::from_secs(3_725));
        let line = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).expect(start);
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("up for"), "up for 1:02:05");
        assert_eq!(line("fra-1"), "fra-1 fra 0 down 12.3");
        assert_eq!(line("iad-1"), "iad-1 iad 0 down -");
        assert_eq!(line("fra - iad"), "fra - iad 44 ms 88.9 ms 90.00 % 1 of 2 directions cut");
        assert_eq!(line("iad - sin"), "iad - sin 44 ms - ms - 2.5 % lost");
        assert_eq!(line("delivered"), "delivered within 250 ms: 90.00 %");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[tokio::test]
    async fn rates_are_differences_and_a_restarted_node_has_none() {
        let mut view = View::new(&Arc::new(mesh()));
        let start = view.drawn_at;
        let published = |counts: [u64; 2]| {
            let nodes = counts.map(|count| Answers { published: Some(count), round_trips: Vec::new() });
            nodes.to_vec()
        };
        assert_eq!(view.rates(&published([100, 50]), start + Duration::from_secs(1)), [None, None]);
        assert_eq!(view.rates(&published([160, 3]), start + Duration::from_secs(3)), [Some(30.0), None]);
    }

    #[tokio::test]
    async fn only_what_was_drawn_is_erased() {
        let mut view = View::new(&Arc::new(mesh()));
        assert_eq!(view.erasure(), "");
        view.lines_drawn = 7;
        assert_eq!(view.erasure(), "\x1b[7A\r\x1b[J");
        assert_eq!(fit("äbc", 2), "äb");
    }
}
