//! From a list of addresses to a session: races handshakes over the list, greets the first node that answers, and goes
//! on to the next when it refuses for a reason of its own. Called by `Client::connect` and by the session task.

use std::net::SocketAddr;
use std::time::Duration;

use farwire_transport::connection::{Closed, Connection};
use farwire_transport::endpoint::{DialError, Dialer};
use farwire_transport::stream::{FrameReader, FrameWriter, ReadError, WriteError};
use farwire_wire::client::{ClientBody, ClientFrame, Hello, ServerBody, ServerFrame, Welcome};
use farwire_wire::limits::{PROTOCOL_VERSION, SERVER_FRAME_BYTES_MAX};
use farwire_wire::{ClientId, ErrorClass, ErrorCode, Instance, WireError};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::backoff::full_jitter;
use crate::entry_points::{EntryPoint, EntryPoints, Wish};
use crate::error::{Attempt, AttemptError, ConnectError, OptionsError};
use crate::options::{ConnectOptions, Token};
use crate::race::Race;

/// Nobody has taken the session for this long: give up, or pause before the next round.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// One address has this long for its handshake, and as long again for its welcome.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The better node's start in the race, when the order says which is better.
const STAGGER: Duration = Duration::from_millis(250);
/// What the wished region has over the others: a handshake over an ocean, and a packet lost on the way.
const WISHED_START: Duration = Duration::from_millis(1_500);
/// When it does not, time tells which node is near: only a tie goes to the first listed.
const STAGGER_OF_EQUALS: Duration = Duration::from_millis(20);
/// The request number of the hello.
pub(crate) const HELLO_REQUEST: u64 = 1;

/// A session that stands.
pub(crate) struct Established {
    pub(crate) connection: Connection,
    pub(crate) writer: FrameWriter,
    pub(crate) reader: FrameReader,
    pub(crate) welcome: Welcome,
}

/// Makes sessions.
pub(crate) struct Connector {
    pub(crate) dialer: Dialer,
    pub(crate) entry_points: EntryPoints,
    pub(crate) rng: StdRng,
    wish: Wish,
    token: Token,
    client_id: Option<ClientId>,
    instance: Instance,
    /// Rounds of hellos so far.
    connects: u32,
    agent: String,
}

impl Connector {
    pub(crate) fn new(options: &ConnectOptions) -> Result<Self, OptionsError> {
        let mut rng = options.rng();
        Ok(Self {
            dialer: options.dialer()?,
            entry_points: EntryPoints::new(options.entry_points.clone()),
            wish: options.wish.clone(),
            token: options.token.clone().ok_or(OptionsError::NoToken)?,
            client_id: options.client_id.clone(),
            instance: Instance(rng.random()),
            connects: 0,
            agent: options.agent.clone(),
            rng,
        })
    }

    /// The first session of a client.
    pub(crate) async fn connect(&mut self) -> Result<Established, ConnectError> {
        let mut wish = self.wish.clone();
        wish.region = wish.region.or_else(|| self.entry_points.region_of(wish.node.as_ref()?));
        let order = self.entry_points.in_order(&wish, None);
        let is_known = wish.is_any() || order.iter().any(|entry| wish.wants(entry));
        let first = self.first_of(&order, &wish, u32::MAX).await?;
        if is_known { Ok(first) } else { Ok(self.go_on(first).await) }
    }

    /// Where to be after `last`: in the same region if there is no other wish, and on another node if there is one. A node
    /// that has asked to leave it comes last of all, and those that it named come first.
    pub(crate) fn wish_after(&self, last: &Welcome, alternatives: Option<&[EntryPoint]>) -> Wish {
        let region = self.wish.region.clone().unwrap_or_else(|| last.region.clone());
        let rather = alternatives.unwrap_or_default().iter().map(|entry| entry.address.clone()).collect();
        let (node, not) = (self.wish.node.clone(), Some(last.node.clone()));
        Wish { node, region: Some(region), not, not_is_leaving: alternatives.is_some(), rather }
    }

    /// The next session. One round over the list, shuffled: the pauses between reconnects are the caller's.
    pub(crate) async fn reconnect(&mut self, wish: &Wish) -> Result<Established, ConnectError> {
        let order = self.entry_points.in_order(wish, Some(&mut self.rng));
        self.first_of(&order, wish, 1).await
    }

    /// From the first node to the wished one, of which it has told just now; stays where the wished one does not answer.
    async fn go_on(&mut self, first: Established) -> Established {
        let mut wanted = self.entry_points.in_order(&self.wish, None);
        wanted.retain(|entry| self.wish.wants(entry));
        let is_there = wanted.iter().any(|entry| entry.node.as_ref() == Some(&first.welcome.node));
        if wanted.is_empty() || is_there {
            return first;
        }
        let wish = self.wish.clone();
        let found = tokio::time::timeout(ANSWER_TIMEOUT, self.first_of(&wanted, &wish, 1)).await;
        let Ok(Ok(established)) = found else { return first };
        first.connection.close(ErrorCode::Closed, "");
        established
    }

    async fn first_of(
        &mut self,
        order: &[EntryPoint],
        wish: &Wish,
        rounds_max: u32,
    ) -> Result<Established, ConnectError> {
        let hello = self.hello()?;
        let mut attempts = Vec::new();
        let (dialer, rng) = (&self.dialer, &mut self.rng);
        let round = || race(dialer, order, wish, hello.clone());
        match rounds(rounds_max, rng, &mut attempts, round).await {
            Ok(Some(established)) => {
                self.entry_points.learn(established.welcome.entry_points.clone());
                Ok(established)
            }
            Ok(None) => {
                add_unanswered(&mut attempts, order);
                Err(ConnectError::of_attempts(attempts))
            }
            Err(refused) => Err(ConnectError::Refused(refused)),
        }
    }

    fn hello(&mut self) -> Result<Hello, OptionsError> {
        self.connects += 1;
        Ok(Hello {
            versions: PROTOCOL_VERSION..=PROTOCOL_VERSION,
            token: self.token.read()?,
            client_id: self.client_id.clone(),
            instance: self.instance,
            agent: self.agent.clone(),
            connects: self.connects,
        })
    }
}

/// Round after round, with growing pauses between them, until one finds a session, none would find more than the last,
/// or the time is over. Leaves the attempts of the last round that came to its end.
async fn rounds<S, R: Future<Output = Round<S>>>(
    rounds_max: u32,
    rng: &mut StdRng,
    attempts: &mut Vec<Attempt>,
    mut round: impl FnMut() -> R,
) -> Result<Option<S>, WireError> {
    let rounds = async {
        for n in 1..=rounds_max {
            let Round { found, failed } = round().await;
            let found = found?;
            *attempts = failed;
            // Who is silent may be starting; a wrong certificate stays wrong.
            let may_come = attempts.iter().any(|attempt| !attempt.error.is_lasting());
            if found.is_some() || !may_come || n == rounds_max {
                return Ok(found);
            }
            tokio::time::sleep(full_jitter(n, rng.random())).await;
        }
        Ok(None)
    };
    tokio::time::timeout(CONNECT_TIMEOUT, rounds).await.unwrap_or(Ok(None))
}

/// What one round over a list has found, and the attempts that failed in it.
struct Round<S> {
    found: Result<Option<S>, WireError>,
    failed: Vec<Attempt>,
}

/// One round over the list. `None` when every address failed; `Err` when a node refused what every node would refuse.
async fn race(dialer: &Dialer, order: &[EntryPoint], wish: &Wish, hello: Hello) -> Round<Established> {
    let mut failed = Vec::new();
    let runner = async |address: &String| (address.clone(), dial(dialer, address).await);
    let runners = order.iter().enumerate().map(|(n, entry)| (pause_before(order, n, wish), runner(&entry.address)));
    let mut race = Race::new(runners);
    while let Some((address, dialled)) = race.next().await {
        let session = match dialled {
            Ok(connection) => greet(connection, hello.clone()).await,
            Err(error) => Err(error),
        };
        match session {
            Ok(established) => return Round { found: Ok(Some(established)), failed },
            Err(AttemptError::Refused(error)) if error.code.class() == ErrorClass::Definite => {
                return Round { found: Err(error), failed };
            }
            Err(error) => {
                tracing::debug!(%address, err = %error, "no session at an address");
                failed.push(Attempt { address, error });
            }
        }
    }
    Round { found: Ok(None), failed }
}

/// How much later than the one before it an address is dialed.
fn pause_before(order: &[EntryPoint], n: usize, wish: &Wish) -> Duration {
    let is_wished = |n: usize| order.get(n).is_some_and(|entry| wish.wants(entry));
    match n.checked_sub(1) {
        _ if wish.is_any() => STAGGER_OF_EQUALS,
        Some(before) if is_wished(before) && !is_wished(n) => WISHED_START,
        _ => STAGGER,
    }
}

/// Resolves and dials `host:port`. A host with several addresses is reached by the first that answers.
async fn dial(dialer: &Dialer, address: &str) -> Result<Connection, AttemptError> {
    let host = host_of(address).ok_or(AttemptError::Address)?;
    let found: Vec<SocketAddr> = tokio::net::lookup_host(address).await?.collect();
    let runner = async |to: SocketAddr| dialer.dial(to, host, ANSWER_TIMEOUT).await;
    let mut race = Race::new(found.into_iter().map(|to| (STAGGER, runner(to))));
    let mut error = AttemptError::TimedOut;
    while let Some(dialled) = race.next().await {
        match dialled {
            Ok(connection) => return Ok(connection),
            Err(DialError::TimedOut(_) | DialError::Closed(Closed::TimedOut)) => {}
            Err(failed) => error = failed.into(),
        }
    }
    Err(error)
}

/// The host that the certificate must name.
fn host_of(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then_some(host)
}

async fn greet(connection: Connection, hello: Hello) -> Result<Established, AttemptError> {
    let exchange = say_hello(&connection, hello);
    let (writer, reader, welcome) =
        tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_| AttemptError::TimedOut)??;
    Ok(Established { connection, writer, reader, welcome })
}

async fn say_hello(connection: &Connection, hello: Hello) -> Result<(FrameWriter, FrameReader, Welcome), AttemptError> {
    let (mut writer, mut reader) = connection.open_bi(SERVER_FRAME_BYTES_MAX).await?;
    let frame = ClientFrame { request: HELLO_REQUEST, body: ClientBody::Hello(hello) };
    writer.write(frame.encode()).await.map_err(of_write)?;
    let frame = reader.next_frame().await.map_err(of_read)?.ok_or_else(|| protocol("it ended the stream"))?;
    match ServerFrame::decode(frame).map_err(|error| protocol(&error.to_string()))?.body {
        ServerBody::Welcome(welcome) => Ok((writer, reader, welcome)),
        ServerBody::Error(error) => Err(AttemptError::Refused(error)),
        _ => Err(protocol("its first frame is not a welcome")),
    }
}

fn of_read(error: ReadError) -> AttemptError {
    match error {
        ReadError::Lost(closed) => of_close(closed),
        other => protocol(&other.to_string()),
    }
}

fn of_write(error: WriteError) -> AttemptError {
    match error {
        WriteError::Lost(closed) => of_close(closed),
        other @ WriteError::Stopped(_) => protocol(&other.to_string()),
    }
}

/// A node may refuse with the connection itself: the error frame then need not have arrived.
fn of_close(closed: Closed) -> AttemptError {
    match (closed.code(), closed) {
        (Some(code), Closed::There { reason, .. }) if code != ErrorCode::Closed && reason.is_empty() => {
            AttemptError::Refused(code.into())
        }
        (Some(code), Closed::There { reason, .. }) if code != ErrorCode::Closed => {
            AttemptError::Refused(WireError::new(code, reason))
        }
        (_, closed) => AttemptError::Lost(closed),
    }
}

fn protocol(what: &str) -> AttemptError {
    AttemptError::Protocol(what.to_owned())
}

fn add_unanswered(attempts: &mut Vec<Attempt>, order: &[EntryPoint]) {
    for EntryPoint { address, .. } in order {
        if !attempts.iter().any(|attempt| attempt.address == *address) {
            attempts.push(Attempt { address: address.clone(), error: AttemptError::TimedOut });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use tokio::time::Instant;

    /// Rounds that all end with `error` after `takes`: what was found, how long it took, how many rounds there were.
    async fn rounds_of(
        error: fn() -> AttemptError,
        takes: Duration,
    ) -> (Result<Option<()>, WireError>, Duration, usize) {
        let (begin, mut times, mut attempts) = (Instant::now(), 0, Vec::new());
        let round = || {
            times += 1;
            let (found, failed) = match error() {
                AttemptError::Refused(error) if error.code.class() == ErrorClass::Definite => (Err(error), vec![]),
                error => (Ok(None), vec![Attempt { address: "a:1".into(), error }]),
            };
            async move {
                tokio::time::sleep(takes).await;
                Round { found, failed }
            }
        };
        let found = rounds(u32::MAX, &mut StdRng::seed_from_u64(7), &mut attempts, round).await;
        (found, begin.elapsed(), times)
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_asked_again_until_ten_seconds_are_over() {
        let (found, took, times) = rounds_of(|| AttemptError::TimedOut, ANSWER_TIMEOUT).await;
        assert_eq!((found, took, times), (Ok(None), CONNECT_TIMEOUT, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_full_is_asked_again_after_growing_pauses() {
        let full = || AttemptError::Refused(ErrorCode::TooManyConnections.into());
        let (found, took, times) = rounds_of(full, Duration::ZERO).await;
        assert_eq!((found, took), (Ok(None), CONNECT_TIMEOUT));
        assert!((4..16).contains(&times), "asked {times} times");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_definite_ends_the_rounds_at_once() {
        let refused = || AttemptError::Refused(ErrorCode::AuthInvalid.into());
        let (found, took, times) = rounds_of(refused, Duration::ZERO).await;
        assert_eq!((found, took, times), (Err(ErrorCode::AuthInvalid.into()), Duration::ZERO, 1));
        let (found, took, times) = rounds_of(|| AttemptError::Address, Duration::ZERO).await;
        assert_eq!((found, took, times), (Ok(None), Duration::ZERO, 1));
    }

    #[test]
    fn the_wished_region_has_a_start_over_the_others() {
        let entry = |region: &str| EntryPoint { region: region.parse().ok(), ..EntryPoint::from("a:1") };
        let order = [entry("iad"), entry("iad"), entry("fra"), entry("sin")];
        let wish = Wish { region: "iad".parse().ok(), ..Wish::default() };
        let pauses: Vec<_> = (0..order.len()).map(|n| pause_before(&order, n, &wish)).collect();
        assert_eq!(pauses[1..], [STAGGER, WISHED_START, STAGGER]);
        assert_eq!(pause_before(&order, 2, &Wish::default()), STAGGER_OF_EQUALS);
    }

    #[test]
    fn the_host_of_an_address_is_what_stands_before_the_port() {
        assert_eq!(host_of("fra-1.example.net:7400"), Some("fra-1.example.net"));
        assert_eq!(host_of("[::1]:7400"), Some("::1"));
        for bad in ["fra-1", ":7400", "fra-1:", "fra-1:99999"] {
            assert_eq!(host_of(bad), None, "{bad}");
        }
    }
}
