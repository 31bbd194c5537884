//! Commands that ask for what cannot be: each ends with the exit code of its kind, and a last line that says what to do.

use std::process::{Command, Output, Stdio};

use farwire_tests::up::farwire;
use farwire_tests::wait::within_patience;
use tokio::io::AsyncWriteExt;

use crate::beside::Beside;

/// What is given to stdin, the command line, its exit code, and parts of its last line.
type Case<'a> = (&'a str, &'a str, i32, &'a [&'a str]);

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mesh_cannot_do_is_answered_with_the_code_of_its_kind() {
    let beside = Beside::start().await;
    let too_large = "x".repeat(65_537);
    let long_name = format!("sub {}", "x".repeat(256));
    let cases: [Case<'_>; 10] = [
        ("", "pub live.a hi --region mars", 2, &["mars", "no such region", "fra, iad"]),
        ("", "sub live.a --region mars", 2, &["mars", "no such region", "fra, iad"]),
        ("", "pub live.a hi --node mars-1", 2, &["mars-1", "fra-1"]),
        ("", "pub live..a hi", 4, &["channel", "at least one character"]),
        ("", "pub live.* hi", 4, &["channel", "letters, digits"]),
        ("", "pub live.\u{1b}[2J hi", 4, &["channel", "letters, digits"]),
        ("", "sub live.a*", 4, &["pattern", "whole segment"]),
        ("", "sub live.>.a", 4, &["pattern", "only at the end"]),
        ("", &long_name, 4, &["pattern", "255 bytes"]),
        (&too_large, "pub live.a", 4, &["FRAME_TOO_LARGE", "65,536 bytes", "split it"]),
    ];
    for (stdin, line, exit, parts) in cases {
        assert_ends(beside.mesh.command(line), stdin, exit, parts).await;
    }
    beside.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_of_another_authority_or_issuer_is_not_spoken_to() {
    let beside = Beside::start().await;
    let (node, files) = (beside.address("fra", "client"), beside.mesh.dir.path().display().to_string());
    let other = tempfile::tempdir().unwrap();
    let theirs = other.path().join("mesh").display().to_string();
    let made = farwire(&format!("certs init --mesh other --region fra=fra-1 --dir {theirs}")).output();
    assert!(made.unwrap().status.success());
    let mint = format!("token mint --dir {theirs} --grant >:publish --client-id me --ttl 1h --out {theirs}/token");
    assert!(farwire(&mint).output().unwrap().status.success());
    let publish = |ca: &str, token: &str| {
        farwire(&format!("pub live.a hi --server {node} --ca {ca}/client-ca.pem --token {token}/token"))
    };
    assert_ends(publish(&theirs, &files), "", 4, &["authority", "not trusted", "client-ca.pem"]).await;
    assert_ends(publish(&files, &theirs), "", 4, &["AUTH_INVALID"]).await;
    assert_ends(publish(&files, &files), "", 0, &[]).await;
    beside.assert_undisturbed().await;
}

#[tokio::test]
async fn where_nobody_answers_a_command_gives_up_and_says_that_it_may_work_later() {
    let other = tempfile::tempdir().unwrap();
    let files = other.path().join("mesh").display().to_string();
    let made = farwire(&format!("certs init --mesh other --region fra=fra-1 --dir {files}")).output();
    assert!(made.unwrap().status.success());
    std::fs::write(other.path().join("token"), "v4.public.none").unwrap();
    // A socket that is bound and never read: nobody else can answer there.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let token = other.path().join("token").display().to_string();
    let line = format!("pub live.a hi --server {address} --ca {files}/client-ca.pem --token {token}");
    assert_ends(farwire(&line), "", 5, &["no node could be reached", "UDP", "try again"]).await;
}

/// The command ends with `exit`, says all `parts` and nothing that a terminal would obey, and last what happened.
pub(crate) async fn assert_ends(command: Command, stdin: &str, exit: i32, parts: &[&str]) {
    let line = format!("{command:?}");
    let output = run(command, stdin).await;
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(exit), "{line}: {stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(exit == 0 || last.starts_with("farwire: "), "{line}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{line}: {part:?} is not in {stderr:?}");
    }
    assert!(!stderr.contains('\u{1b}') && !stderr.contains("panicked"), "{line}: {stderr:?}");
}

async fn run(command: Command, stdin: &str) -> Output {
    let mut command = tokio::process::Command::from(command);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.kill_on_drop(true).spawn().expect("started");
    // Who refuses early does not read all of it.
    let _closed = child.stdin.take().expect("piped").write_all(stdin.as_bytes()).await;
    within_patience("the end of the command", child.wait_with_output()).await.expect("our child")
}
