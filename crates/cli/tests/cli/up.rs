//! `farwire up`: a mesh that carries the fleet, and of which nothing is left.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Guard, Mesh, PATIENCE, farwire, lines, wait_for, wait_until};

const REGIONS: [&str; 3] = ["fra", "iad", "sin"];
const SHIPS: usize = 20;
const REPORTS: usize = 1_000;

#[test]
fn every_report_of_the_fleet_arrives_once_and_in_order_in_every_region() {
    let mesh = Mesh::start("--wan real");
    let watchers = REGIONS.map(|region| {
        let whole = watch(&mesh, region, "live.fleet.>", REPORTS);
        (region, whole, watch(&mesh, region, "live.fleet.7", REPORTS / SHIPS))
    });
    let reports: String = (0..REPORTS).map(|n| format!("{{\"mmsi\":{},\"n\":{n}}}\n", n % SHIPS)).collect();
    let summary = publish(&mesh, "--channel-field mmsi --channel-prefix live.fleet. --rate 500", &reports);
    assert_eq!((&summary["sent"], &summary["acked"]), (&REPORTS.into(), &REPORTS.into()), "{summary}");
    for (region, whole, one) in watchers {
        let seen = messages(whole);
        let mut ships: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for message in &seen {
            let number = message["number"].as_u64().expect("a number");
            ships.entry(message["channel"].to_string()).or_default().push(number);
        }
        assert_eq!(ships.len(), SHIPS, "{region}");
        let dense: Vec<u64> = (1..=(REPORTS / SHIPS) as u64).collect();
        assert!(ships.values().all(|numbers| *numbers == dense), "{region}: {ships:?}");
        assert_eq!(messages(one).len(), REPORTS / SHIPS, "{region}");
        let one_way_us = match region {
            "iad" => 44_000,
            "sin" => 80_000,
            _ => 0,
        };
        let mut latencies: Vec<u64> = seen.iter().filter_map(|message| message["latency_us"].as_u64()).collect();
        latencies.sort_unstable();
        // The upper bound is wide: other tests run beside this one. tests/README.md has the figures of a quiet machine.
        let median = latencies[latencies.len() / 2];
        assert!((one_way_us..one_way_us + 60_000).contains(&median), "{region}: median {median} us");
    }
    mesh.stop();
}

#[test]
fn nothing_outlives_up_however_it_ends() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut mesh = Mesh::start("--wan none --regions fra,iad");
        let nodes = pids(&mesh.context);
        assert_eq!(nodes.len(), 2);
        kill_process(nodes[0], Signal::STOP).expect("the node runs");
        mesh.up.signal(signal);
        let status = mesh.up.0.wait().expect("our child");
        assert_eq!(status.success(), signal != Signal::KILL, "{signal:?}: {status}");
        wait_until("every node is gone", || nodes.iter().all(|node| is_gone(*node)));
        assert_eq!(mesh.dir.path().join("mesh.json").exists(), signal == Signal::KILL, "removed at a clean end");
    }
}

#[test]
fn a_second_up_in_the_same_folder_is_refused_and_a_stale_context_replaced() {
    let mut first = Mesh::start("--wan none --regions fra");
    let second = up_in(&first, "up --json --demo none --wan none --regions fra").output().expect("started");
    assert_eq!(second.status.code(), Some(1), "{}", text(&second));
    assert!(text(&second).contains("already"), "{}", text(&second));
    first.up.signal(Signal::KILL);
    first.up.0.wait().expect("our child");
    let stale = std::fs::read_to_string(first.dir.path().join("mesh.json")).expect("left behind by the kill");
    let mut third = up_in(&first, "up --json --demo none --wan none --regions fra");
    let mut third = Guard(third.stdout(Stdio::piped()).spawn().expect("started"));
    let fresh = wait_for(&lines(third.0.stdout.take().expect("piped")), "{\"mesh\"");
    assert_ne!(fresh.trim(), stale.trim());
    third.signal(Signal::TERM);
    assert!(third.0.wait().expect("our child").success());
}

#[test]
fn what_is_not_built_or_not_there_is_refused_with_its_exit_code() {
    let mesh = Mesh::start("--wan none --regions fra");
    let exit = |line: &str| {
        let output = mesh.command(line).output().expect("started");
        (output.status.code(), text(&output))
    };
    let (code, said) = exit("pub chat.room hello");
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("the log is not built yet") && said.contains("live"), "{said}");
    assert_eq!(exit("sub chat.>").0, Some(4));
    assert_eq!(exit("sub live.a --region mars").0, Some(2));
    assert_eq!(exit("sub live.a --count 1 --timeout 1").0, Some(3));
    assert_eq!(exit("pub live..a hello").0, Some(4));
    assert_eq!(exit("pub live.a hello").0, Some(0));
    mesh.stop();
}

#[test]
fn a_node_is_stopped_and_goes_on_is_killed_and_returns_as_another_process() {
    let mesh = Mesh::start("--wan none --regions fra");
    let exit = |change: &str| mesh.command(&format!("up ctl {change}")).output().expect("started").status.code();
    let first = mesh.node("fra-1").pid;
    assert_eq!(exit("stop fra-1"), Some(0));
    wait_until("the process is stopped", || state_of(first) == Some('T'));
    assert_eq!(exit("cont fra-1"), Some(0));
    wait_until("the process goes on", || state_of(first).is_some_and(|state| state != 'T'));
    assert_eq!(exit("stop fra-1"), Some(0));
    assert_eq!((exit("kill fra-1"), state_of(first)), (Some(0), None), "gone when the command returns");
    assert_eq!((exit("kill fra-1"), exit("stop fra-1"), exit("cont fra-1")), (Some(0), Some(1), Some(1)));
    assert_eq!(exit("restart fra-1"), Some(0));
    let second = mesh.node("fra-1").pid;
    assert!(second != first && state_of(second).is_some(), "mesh.json has the new process");
    mesh.run("pub live.a hello");
    assert_eq!((exit("restart fra-2"), exit("cut fra mars")), (Some(2), Some(2)));
    mesh.stop();
}

/// A subscriber that is in force, and its lines.
struct Watcher {
    process: Guard,
    lines: std::sync::mpsc::Receiver<String>,
}

fn watch(mesh: &Mesh, region: &str, pattern: &str, count: usize) -> Watcher {
    let timeout = PATIENCE.as_secs();
    let line = format!("sub {pattern} --json --region {region} --count {count} --timeout {timeout}");
    let mut process = Guard(mesh.command(&line).stdout(Stdio::piped()).spawn().expect("started"));
    let lines = lines(process.0.stdout.take().expect("piped"));
    wait_for(&lines, "\"connected\"");
    Watcher { process, lines }
}

/// Every message that the subscriber printed until it ended, which it does in good order.
fn messages(mut watcher: Watcher) -> Vec<Value> {
    let lines: Vec<Value> = watcher.lines.iter().map(|line| serde_json::from_str(&line).expect(&line)).collect();
    assert!(watcher.process.0.wait().expect("our child").success(), "{:?}", lines.last());
    assert!(lines.iter().all(|line| line.get("dropped").is_none()));
    lines.into_iter().filter(|line| line.get("payload").is_some()).collect()
}

fn publish(mesh: &Mesh, flags: &str, input: &str) -> Value {
    let mut command = mesh.command(&format!("pub --json --lines --region fra {flags}"));
    let mut process = Guard(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started"));
    let acks = lines(process.0.stdout.take().expect("piped"));
    let mut stdin = process.0.stdin.take().expect("piped");
    let input = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let summary = wait_for(&acks, "\"summary\"");
    writing.join().expect("did not panic").expect("all was read");
    serde_json::from_str::<Value>(&summary).expect("JSON")["summary"].take()
}

fn up_in(mesh: &Mesh, line: &str) -> Command {
    let mut command = farwire(line);
    command.arg("--dir").arg(mesh.dir.path());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn pids(context: &Value) -> Vec<Pid> {
    let regions = context["regions"].as_object().expect("regions").values();
    let nodes = regions.flat_map(|region| region.as_array().expect("nodes"));
    nodes
        .map(|node| Pid::from_raw(i32::try_from(node["pid"].as_i64().expect("a pid")).expect("a pid")).expect("a pid"))
        .collect()
}

/// Whether the process has ended; one that nobody has waited for yet counts as ended.
fn is_gone(pid: Pid) -> bool {
    state_of(pid.as_raw_nonzero().get().unsigned_abs()).is_none_or(|state| state == 'Z')
}

/// One letter, as Linux has them; `None` when there is no such process.
fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, brackets too.
    stat.rsplit_once(") ")?.1.chars().next()
}
