//! Each page from an answer as a node gives it.

use super::*;
use serde::de::DeserializeOwned;

const NOW_US: u64 = 1_769_903_947_042_000;

const MESH: &str = r#"{"mesh":"demo","view":"00000000000000ff","node":"fra-1","members":[
    {"name":"iad-1","region":"iad","state":"suspect","version":"","rtt_ms":null,"load":0,"in_ring":true,"reachable":false,"weight":100,"client":"","newer":1},
    {"name":"fra-2","region":"fra","state":"alive","version":"0.1.0","rtt_ms":0.21,"load":12,"in_ring":false,"reachable":true,"weight":50,"client":"h:2"},
    {"name":"fra-1","region":"fra","state":"alive","version":"0.1.0","rtt_ms":0.0,"load":3,"in_ring":true,"reachable":true,"weight":100,"client":"h:1"}]}"#;

const LINKS: &str = r#"{"links":[
    {"from":"fra-2","from_region":"fra","to":"fra-1","to_region":"fra","rtt_ms":0.2,"loss":0.0,"sent_packets":1,"lost_packets":0,"sent_bytes":2048,"received_bytes":10},
    {"from":"fra-1","from_region":"fra","to":"sin-1","to_region":"sin","rtt_ms":161.04,"loss":0.004,"sent_packets":1,"lost_packets":0,"sent_bytes":0,"received_bytes":0},
    {"from":"sin-1","from_region":"sin","to":"fra-2","to_region":"fra","rtt_ms":160.0,"loss":0.25,"sent_packets":1,"lost_packets":0,"sent_bytes":0,"received_bytes":0}]}"#;

fn read<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).expect(json)
}

fn lines(text: &str) -> Vec<&str> {
    assert!(text.ends_with('\n'));
    text.lines().collect()
}

#[test]
fn the_summary_marks_who_is_out_of_reach_and_names_the_worst_links() {
    let text = summary(&read(MESH), &read(LINKS));
    let want = [
        "mesh demo, view 00000000000000ff, as fra-1 sees it: 3 members, ! unreachable: iad-1",
        "",
        "  NAME   REGION  STATE                     RTT  SESSIONS  VERSION",
        "  fra-1  fra     alive                    0 ms         3  0.1.0",
        "  fra-2  fra     alive                 0.21 ms        12  0.1.0",
        "! iad-1  iad     suspect, unreachable        -         0  -",
        "",
        "REGIONS     WORST LINK          RTT     LOSS",
        "within fra  fra-2 - fra-1   0.20 ms      0 %",
        "fra - iad   ! none                -        -",
        "fra - sin   sin-1 - fra-2  160.0 ms  25.00 %",
    ];
    assert_eq!(lines(&text), want);
}

#[test]
fn a_mesh_of_one_node_has_no_links() {
    let alone = r#"{"mesh":"m","view":"0","node":"a-1","members":[{"name":"a-1","region":"a","state":"alive","version":"1",
        "rtt_ms":0,"load":0,"in_ring":true,"reachable":true,"weight":1,"client":"h:1"}]}"#;
    assert!(summary(&read(alone), &Links { links: Vec::new() }).ends_with("\n\nno links: the mesh has one node\n"));
    assert!(links(Links { links: Vec::new() }).starts_with("no links"));
}

#[test]
fn nodes_are_listed_by_region_and_name() {
    let text = nodes(&read(MESH));
    let want = [
        "  NAME   REGION  STATE                 IN RING  WEIGHT      RTT  SESSIONS  VERSION  CLIENTS AT",
        "  fra-1  fra     alive                 yes         100     0 ms         3  0.1.0    h:1",
        "  fra-2  fra     alive                 no           50  0.21 ms        12  0.1.0    h:2",
        "! iad-1  iad     suspect, unreachable  yes         100        -         0  -        -",
    ];
    assert_eq!(&lines(&text)[2..], want);
}

#[test]
fn links_are_listed_by_their_ends_with_units() {
    let want = [
        "FROM   TO          RTT     LOSS     SENT  RECEIVED",
        "fra-1  sin-1  161.0 ms   0.40 %      0 B       0 B",
        "fra-2  fra-1   0.20 ms      0 %  2.0 KiB      10 B",
        "sin-1  fra-2  160.0 ms  25.00 %      0 B       0 B",
    ];
    assert_eq!(lines(&links(read(LINKS))), want);
}

#[test]
fn the_ring_has_a_row_for_the_slots_of_nobody() {
    let answer = r#"{"view":"0f","slots":4096,"shards":64,"regions":[
        {"region":"fra","unowned":0,"nodes":[{"name":"fra-1","weight":100,"reachable":true,"slots":4096}]},
        {"region":"iad","unowned":1024,"nodes":[{"name":"iad-2","weight":100,"reachable":false,"slots":0},
            {"name":"iad-1","weight":100,"reachable":true,"slots":3072}]}]}"#;
    let want = [
        "ring of view 0f: 4096 slots, 64 shards",
        "",
        "REGION    NODE    SLOTS    SHARE  WEIGHT  STATE",
        "fra       fra-1    4096    100 %     100  reachable",
        "iad       iad-1    3072  75.00 %     100  reachable",
        "iad     ! iad-2       0      0 %     100  unreachable",
        "iad     ! nobody   1024  25.00 %       -  -",
    ];
    assert_eq!(lines(&ring(&read(answer))), want);
}

#[test]
fn channels_keep_their_order_and_say_how_many_are_left_out() {
    let row = r#"{"channel":"live.a","per_second":12.34,"messages":500,"bytes":1536}"#;
    let few = format!(r#"{{"channels":[{row}],"total":1}}"#);
    let want = ["CHANNEL    RATE  MESSAGES    BYTES", "live.a   12.3/s       500  1.5 KiB"];
    assert_eq!(lines(&channels(&read(&few))), want);
    let many = format!(r#"{{"channels":[{}],"total":70}}"#, [row; 60].join(","));
    let text = channels(&read(&many));
    assert_eq!(lines(&text).len(), 1 + CHANNELS_SHOWN_MAX + 2);
    assert!(text.ends_with("\nand 20 more of 70 channels; --json lists more of them\n"), "{text}");
    assert!(channels(&read(r#"{"channels":[],"total":0}"#)).starts_with("no channel"));
}

#[test]
fn a_channel_has_its_place_and_a_row_for_each_region() {
    let answer = r#"{"channel":"live.a","slot":7,"shard":3,"namespace":"live","log":false,"unanswered":["sin-1"],
        "presence":{"occupancy":2,"clients":1,"regions":{"fra":{"occupancy":2,"as_of":1769903947042000,"reachable":true},
            "sin":{"occupancy":5,"as_of":1769903940000000,"reachable":false}}},"regions":[
        {"region":"fra","owner":"fra-1","reachable":true,"per_second":2.0,"messages":9,"bytes":90,
            "attachments":[{"node":"fra-2","subscriptions":2},{"node":"fra-1","subscriptions":1}]},
        {"region":"sin","owner":null,"reachable":false,"per_second":0.0,"messages":0,"bytes":0,"attachments":[]}]}"#;
    let want = [
        "channel    live.a",
        "slot       7",
        "shard      3",
        "namespace  live",
        "logged     no: volatile",
        "present    2 sessions of 1 client, ! unreachable and not counted: sin",
        "",
        "REGION  OWNER                RATE  MESSAGES  BYTES  ATTACHED (SUBSCRIPTIONS)",
        "fra     fra-1               2.0/s         9   90 B  fra-1 (1), fra-2 (2)",
        "sin     ! nobody reachable  0.0/s         0    0 B  -",
        "",
        "  REGION  PRESENT  KNOWN (UTC)",
        "  fra           2  as of 23:59:07",
        "! sin           5  unreachable, as of 23:59:00",
        "",
        "! did not answer in time, and are missing above: sin-1",
    ];
    assert_eq!(lines(&channel(&read(answer), NOW_US)), want);
    let logged = answer.replace("\"live\",\"log\":false", "null,\"log\":true");
    assert!(channel(&read(&logged), NOW_US).contains("namespace  the default one\nlogged     yes\n"));
    let silent = answer.replace("\"presence\"", "\"before\"");
    assert!(channel(&read(&silent), NOW_US).contains("present    ! unknown: "), "a node that does not say");
}

#[test]
fn sessions_cannot_steer_the_terminal_of_who_looks_at_them() {
    let answer = r#"{"total":3,"sessions":[{"session":"0a","client_id":"c","node":"fra-1","region":"fra","address":"127.0.0.1:9","agent":"x\u001b[2J",
        "since":1769903947042000,"rtt_ms":0.5,"subscriptions":1,"published":2,"delivered":3,"dropped":4}]}"#;
    let text = sessions(read(answer));
    let row = lines(&text)[1];
    assert!(row.starts_with("fra-1  c       127.0.0.1:9  0.50 ms ") && row.contains("x\\u{1b}[2J"), "{row}");
    assert!(row.contains("  2026-01-31 23:59:07  ") && text.ends_with("\nand 2 more of 3 sessions\n"), "{text}");
    assert_eq!(sessions(read(r#"{"total":0,"sessions":[]}"#)), "no sessions\n");
}

#[test]
fn the_share_in_time_is_told_for_each_two_regions() {
    let answer = r#"{"pairs":[{"from":"sin","to":"fra","received":10,"missed":1,"within_250ms":0.5,"p50_us":80400,"p99_us":300000},
        {"from":"fra","to":"sin","received":600,"missed":0,"within_250ms":1.0,"p50_us":80000,"p99_us":81000}]}"#;
    let want = [
        "FROM  TO   WITHIN 250 MS      P50       P99  RECEIVED  MISSED",
        "fra   sin          100 %  80.0 ms   81.0 ms       600       0",
        "sin   fra        50.00 %  80.4 ms  300.0 ms        10       1",
    ];
    assert_eq!(lines(&slo(read(answer))), want);
    assert!(slo(read(r#"{"pairs":[]}"#)).starts_with("no probe"));
}
