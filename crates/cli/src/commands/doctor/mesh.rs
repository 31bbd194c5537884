//! The mesh as one of its nodes sees it: who is missing, which links are, what they lose, how far the clocks are apart. Pure: judges answers of
//! the admin endpoint.

use std::collections::{BTreeMap, BTreeSet};

use farwire_transport::MeshFile;

use super::finding::Finding;
use crate::commands::mesh::answers::{Link, Links, Member, Mesh, Pair, Slo};

/// All that the answers show; what should be there is known with a mesh file only.
pub(super) fn findings(mesh: &Mesh, links: &Links, slo: &Slo, file: Option<&MeshFile>) -> Vec<Finding> {
    let mut findings = members(mesh);
    findings.extend(file.map(|file| against_file(mesh, file)).into_iter().flatten());
    findings.push(versions(mesh));
    findings.extend(missing_links(mesh, links));
    findings.extend(losses(links));
    findings.extend(skews(slo, links));
    findings
}

/// How many others there are, if there are any and the node that answers has a link with each.
pub(super) fn linked_with_all(mesh: &Mesh) -> Option<usize> {
    let mut others = mesh.members.iter().filter(|member| member.name != mesh.node);
    let count = others.clone().count();
    (count > 0 && others.all(|member| member.state == "alive" && member.reachable)).then_some(count)
}

/// Who is not as a member should be.
fn members(mesh: &Mesh) -> Vec<Finding> {
    let judge = |member: &Member| {
        let name = &member.name;
        let forget = format!("start it, or `farwire forget {name}` if it will not come back");
        match member.state.as_str() {
            "alive" if member.reachable => None,
            "alive" => Some(Finding::fail(
                "members",
                format!("{} has no link to {name}", mesh.node),
                "let UDP of the peer port through between the two, in both directions",
            )),
            "suspect" => Some(Finding::warn("members", format!("{name} does not answer"), "look again in ten seconds")),
            "left" => Some(Finding::warn("members", format!("{name} was stopped"), forget)),
            _ => Some(Finding::fail("members", format!("{name} is down"), forget)),
        }
    };
    let bad: Vec<_> = mesh.members.iter().filter_map(judge).collect();
    let alone = mesh.members.len() == 1;
    match bad.is_empty() {
        true if alone => {
            vec![Finding::warn(
                "members",
                format!("{} knows no other node", mesh.node),
                "see [peer] seeds and the firewalls",
            )]
        }
        true => vec![Finding::ok("members", format!("{} alive and linked with {}", mesh.members.len(), mesh.node))],
        false => bad,
    }
}

/// Which first nodes of the mesh file are no members, and who is one in another region than there.
fn against_file(mesh: &Mesh, file: &MeshFile) -> Vec<Finding> {
    let of_member: BTreeMap<_, _> =
        mesh.members.iter().map(|member| (member.name.as_str(), member.region.as_str())).collect();
    let nodes = file
        .regions
        .iter()
        .flat_map(|region| region.nodes.iter().map(move |node| (node.as_str(), region.name.as_str())));
    let judge = |(node, region): (&str, &str)| match of_member.get(node) {
        None => {
            let message = format!("{node} is in the mesh file and no member");
            Some(Finding::warn("mesh file", message, "start it, or take it out of every node's mesh file"))
        }
        Some(other) if *other != region => {
            let message = format!("{node} says that it is in {other}, the mesh file has it in {region}");
            Some(Finding::fail("mesh file", message, format!("give {node} the mesh's own mesh file and region")))
        }
        Some(_) => None,
    };
    let bad: Vec<_> = nodes.filter_map(judge).collect();
    if bad.is_empty() { vec![Finding::ok("mesh file", "all its nodes are members, each in its region")] } else { bad }
}

fn versions(mesh: &Mesh) -> Finding {
    let alive = mesh.members.iter().filter(|member| member.state == "alive" && !member.version.is_empty());
    let mut of_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    alive.for_each(|member| of_version.entry(&member.version).or_default().push(&member.name));
    let text: Vec<_> = of_version.iter().map(|(version, nodes)| format!("{version} on {}", nodes.join(", "))).collect();
    match of_version.len() {
        0 | 1 => Finding::ok("versions", of_version.keys().next().map_or("not told yet", |version| version).to_owned()),
        _ => Finding::warn("versions", text.join("; "), "bring all nodes to one release"),
    }
}

/// Each two living members of which neither tells of a link.
fn missing_links(mesh: &Mesh, links: &Links) -> Vec<Finding> {
    let there: BTreeSet<(&str, &str)> = links.links.iter().map(|link| (link.from.as_str(), link.to.as_str())).collect();
    let alive: Vec<&str> =
        mesh.members.iter().filter(|member| member.state == "alive").map(|m| m.name.as_str()).collect();
    let pairs = alive.iter().enumerate().flat_map(|(at, a)| alive[at + 1..].iter().map(move |b| (*a, *b)));
    let missing = pairs.filter(|(a, b)| !there.contains(&(*a, *b)) && !there.contains(&(*b, *a)));
    let fail = |(a, b)| {
        let remedy = "let UDP of the peer port through between the two, in both directions; see their [peer] advertise";
        Finding::fail("links", format!("none between {a} and {b}"), remedy)
    };
    missing.map(fail).collect()
}

/// The link that loses most, if it has carried enough to say so.
fn losses(links: &Links) -> Option<Finding> {
    let judged = links.links.iter().filter(|link| link.sent_packets >= PACKETS_MIN);
    let worst = judged.max_by(|a, b| a.loss.total_cmp(&b.loss))?;
    let Link { from, to, loss, rtt_ms, .. } = worst;
    let text = format!(
        "{} ends; most is lost from {from} to {to}: {:.2} % at {rtt_ms:.0} ms",
        links.links.len(),
        loss * 100.0
    );
    let remedy = "look at the network between the two: `mtr -u`; see also the UDP buffers of both hosts";
    Some(match *loss {
        loss if loss >= 0.05 => Finding::fail("links", text, remedy),
        loss if loss >= 0.01 => Finding::warn("links", text, remedy),
        _ => Finding::ok("links", text),
    })
}

/// How far apart the clocks of each two regions are.
fn skews(slo: &Slo, links: &Links) -> Vec<Finding> {
    let back = |pair: &Pair| slo.pairs.iter().find(|other| (&other.from, &other.to) == (&pair.to, &pair.from));
    let both = slo.pairs.iter().filter(|pair| pair.from < pair.to).filter_map(|pair| Some((pair, back(pair)?)));
    both.filter(|(there, back)| there.received.min(back.received) >= PROBES_MIN)
        .map(|(there, back)| skew(there, back, links))
        .collect()
}

/// The way takes as long in both directions, so half of what they differ by is the clocks'. A latency below zero is told as zero: then
/// the link's round trip says how long the way takes.
fn skew(there: &Pair, back: &Pair, links: &Links) -> Finding {
    let (fast, slow) = (there.p50_us.min(back.p50_us), there.p50_us.max(back.p50_us));
    let between = links.links.iter().filter(|link| (&link.from_region, &link.to_region) == (&there.from, &there.to));
    let one_way_us = between.map(|link| link.rtt_ms * 500.0).fold(0.0, f64::max);
    #[allow(clippy::cast_precision_loss, reason = "an estimate for people")]
    let skew_ms = if fast > 0 { (slow - fast) as f64 / 2_000.0 } else { (slow as f64 - one_way_us).max(0.0) / 1_000.0 };
    let text = format!("{} and {} are {skew_ms:.0} ms apart", there.from, there.to);
    let remedy = "install chrony on the nodes of both, and see `timedatectl`";
    match skew_ms {
        ms if ms >= 5_000.0 => Finding::fail("skew", text, remedy),
        ms if ms >= 50.0 => Finding::warn("skew", text, remedy),
        _ => Finding::ok("skew", text),
    }
}

/// Fewer packets than this say nothing of a share.
const PACKETS_MIN: u64 = 200;
/// Fewer probes than this have no median.
const PROBES_MIN: u64 = 5;

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use serde_json::{Value, json};

    fn mesh(members: &[(&str, &str, bool, &str)]) -> Mesh {
        let members: Vec<Value> = members
            .iter()
            .map(|(name, state, reachable, version)| {
                json!({"name": name, "region": &name[..3], "state": state, "version": version, "rtt_ms": 1.0, "load": 0,
                    "in_ring": true, "reachable": reachable, "weight": 1, "client": ""})
            })
            .collect();
        serde_json::from_value(json!({"mesh": "m", "view": "0", "node": "fra-1", "members": members}))
            .expect("an answer")
    }

    fn links(ends: &[(&str, &str, f64, u64)]) -> Links {
        let link = |(from, to, loss, packets): &(&str, &str, f64, u64)| {
            json!({"from": from, "from_region": &from[..3], "to": to, "to_region": &to[..3], "rtt_ms": 80.0, "loss": loss,
                "sent_packets": packets, "sent_bytes": 1, "received_bytes": 1})
        };
        serde_json::from_value(json!({"links": ends.iter().map(link).collect::<Vec<_>>()})).expect("an answer")
    }

    fn slo(there_us: u64, back_us: u64, received: u64) -> Slo {
        let pair = |from: &str, to: &str, p50: u64| json!({"from": from, "to": to, "received": received, "missed": 0, "within_250ms": 1.0, "p50_us": p50, "p99_us": p50});
        let pairs = [pair("fra", "iad", there_us), pair("iad", "fra", back_us)];
        serde_json::from_value(json!({"pairs": pairs})).expect("an answer")
    }

    fn bad(findings: &[Finding]) -> Vec<(Level, &str)> {
        findings.iter().filter(|f| f.level != Level::Ok).map(|f| (f.level, f.message.as_str())).collect()
    }

    #[test]
    fn a_mesh_in_good_health_has_nothing_but_ok() {
        let mesh = mesh(&[("fra-1", "alive", true, "1"), ("iad-1", "alive", true, "1")]);
        let links = links(&[("fra-1", "iad-1", 0.001, 5_000), ("iad-1", "fra-1", 0.0, 5_000)]);
        let found = findings(&mesh, &links, &slo(44_000, 46_000, 60), None);
        assert_eq!(bad(&found), []);
        let checks: Vec<_> = found.iter().map(|finding| finding.check).collect();
        assert_eq!(checks, ["members", "versions", "links", "skew"]);
    }

    #[test]
    fn members_are_told_by_what_they_are() {
        let found = members(&mesh(&[
            ("fra-1", "alive", true, "1"),
            ("fra-2", "alive", false, "1"),
            ("iad-1", "down", false, "1"),
            ("iad-2", "left", false, "1"),
            ("sin-1", "suspect", true, "1"),
        ]));
        let levels: Vec<_> = found.iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Fail, Level::Fail, Level::Warn, Level::Warn]);
        assert!(found[1].remedy.as_deref().is_some_and(|remedy| remedy.contains("farwire forget iad-1")));
        assert_eq!(members(&mesh(&[("fra-1", "alive", true, "1")]))[0].level, Level::Warn, "alone");
    }

    #[test]
    fn a_node_that_is_alone_or_misses_one_has_not_links_with_all() {
        let with = |others: &[(&str, &str, bool, &str)]| {
            linked_with_all(&mesh(&[&[("fra-1", "alive", true, "1")], others].concat()))
        };
        assert_eq!(with(&[("iad-1", "alive", true, "1"), ("sin-1", "alive", true, "1")]), Some(2));
        assert_eq!(
            (with(&[]), with(&[("iad-1", "alive", false, "1")]), with(&[("iad-1", "down", true, "1")])),
            (None, None, None)
        );
    }

    #[test]
    fn releases_that_differ_are_told_with_their_nodes() {
        let found = versions(&mesh(&[
            ("fra-1", "alive", true, "1"),
            ("iad-1", "alive", true, "2"),
            ("sin-1", "down", true, "0"),
        ]));
        assert_eq!((found.level, found.message.as_str()), (Level::Warn, "1 on fra-1; 2 on iad-1"));
    }

    #[test]
    fn links_that_are_missing_or_lose_are_told() {
        let three =
            mesh(&[("fra-1", "alive", true, "1"), ("iad-1", "alive", true, "1"), ("sin-1", "alive", true, "1")]);
        let one_end =
            links(&[("fra-1", "iad-1", 0.0, 900), ("sin-1", "fra-1", 0.02, 900), ("iad-1", "fra-1", 0.9, 10)]);
        assert_eq!(bad(&missing_links(&three, &one_end)), [(Level::Fail, "none between iad-1 and sin-1")]);
        let worst = losses(&one_end).expect("enough packets");
        assert!(worst.level == Level::Warn && worst.message.contains("from sin-1 to fra-1: 2.00 %"), "{worst}");
        assert_eq!(losses(&links(&[("a-1", "b-1", 0.2, 900)])).map(|finding| finding.level), Some(Level::Fail));
    }

    #[test]
    fn clocks_that_differ_are_told_even_when_a_latency_would_be_below_zero() {
        let links = links(&[("fra-1", "iad-1", 0.0, 900)]);
        let skew =
            |there, back, received| skews(&slo(there, back, received), &links).pop().map(|f| (f.level, f.message));
        assert_eq!(skew(40_000, 240_000, 9), Some((Level::Warn, "fra and iad are 100 ms apart".to_owned())));
        assert_eq!(skew(0, 10_040_000, 9), Some((Level::Fail, "fra and iad are 10000 ms apart".to_owned())));
        assert_eq!(skew(0, 10_040_000, 4), None, "too few to say");
    }

    #[test]
    fn the_mesh_file_says_who_should_be_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("mesh.toml");
        let text = "name = \"m\"\nid = \"00000000000000ff\"\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\n\
            [[region]]\nname = \"fra\"\nnodes = [\"fra-1\", \"iad-1\"]\n[[region]]\nname = \"sin\"\nnodes = [\"sin-1\"]\n";
        std::fs::write(&path, text).expect("written");
        let file = MeshFile::load(&path).expect("sound");
        let found = against_file(&mesh(&[("fra-1", "alive", true, "1"), ("iad-1", "alive", true, "1")]), &file);
        let want = [
            (Level::Fail, "iad-1 says that it is in iad, the mesh file has it in fra"),
            (Level::Warn, "sin-1 is in the mesh file and no member"),
        ];
        assert_eq!(bad(&found), want);
    }
}
