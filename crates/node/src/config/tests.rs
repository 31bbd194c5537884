//! The config as a whole: layers, faults with their places, and `deploy/config/node.toml` against the table.

use std::path::Path;

use farwire_wire::names::ChannelName;

use super::parse::{Given, Value};
use super::schema::{NAMESPACE, Otherwise, SETTINGS, apply_defaults, environment_name};
use super::*;

/// The least that a node must be told.
const LEAST: &str = r#"
mesh = "mesh.toml"
name = "fra-1"
region = "fra"
data_dir = "data"
client.advertise = "fra-1.example.com:7400"
peer.advertise = "192.0.2.10:7440"
auth.issuers = ["issuer.pub"]
[tls]
client_cert = "client.pem"
client_key = "client.key"
peer_cert = "peer.pem"
peer_key = "peer.key"
peer_ca = "peer-ca.pem"
"#;

fn config(text: &str) -> Result<Config, Faults> {
    Config::parse(text, Path::new("node.toml"), |_| None, &[])
}

/// The faults of the least config with `more` after it, which begins on line 15, a line each.
fn faults(more: &str) -> Vec<String> {
    let faults = config(&format!("{LEAST}{more}")).expect_err("there are faults");
    faults.to_string().lines().map(str::to_owned).collect()
}

/// What a config says, but not where.
fn content(config: &Config) -> String {
    format!("{:?}", Config { places: BTreeMap::new(), ..config.clone() })
}

#[test]
fn the_least_config_leaves_the_rest_to_the_defaults() {
    let config = config(LEAST).expect("sound");
    assert_eq!(config.mesh, Path::new("mesh.toml"));
    assert_eq!(config.client.bind, "0.0.0.0:7400".parse().expect("an address"));
    assert_eq!((config.weight, config.log.cache_bytes, config.log.sync), (1, 8 << 20, true));
    assert_eq!(config.limits.hello_timeout, Duration::from_secs(5));
    assert_eq!((config.limits.sessions_max, config.limits.payload_bytes_max), (5000, 65_536));
    assert_eq!(config.membership.ring_leave_after, Duration::from_secs(600));
    assert!(config.namespaces.iter().next().is_none());
}

#[test]
fn each_layer_goes_over_the_one_before() {
    let text = format!("{LEAST}[log]\nsync = false\ncache_bytes = \"1MiB\"\n[limits]\nsessions_max = 10\n");
    let environment = |name: &str| match name {
        "FARWIRE_LOG_CACHE_BYTES" => Some("2MiB".to_owned()),
        "FARWIRE_PEER_SEEDS" => Some("a.example.com:1, b.example.com:2".to_owned()),
        "FARWIRE_LIMITS_SESSIONS_MAX" => Some("20".to_owned()),
        _ => None,
    };
    let sets = [("limits.sessions_max".to_owned(), "30".to_owned()), ("weight".to_owned(), "2".to_owned())];
    let config = Config::parse(&text, Path::new("node.toml"), environment, &sets).expect("sound");
    assert_eq!((config.log.sync, config.log.cache_bytes), (false, 2 << 20));
    assert_eq!((config.limits.sessions_max, config.weight), (30, 2));
    let seeds: Vec<_> = config.peer.seeds.iter().map(HostPort::as_str).collect();
    assert_eq!(seeds, ["a.example.com:1", "b.example.com:2"]);
}

#[test]
fn faults_of_every_kind_are_reported_at_once_with_place_and_remedy() {
    let text = LEAST.replace("client.advertise", "client.adverdise")
        + "[admin]\nbind = \"foo\"\n[limits]\nsesions_max = 3\nhello_timeout = 5\n\
           [[namespace]]\nprefix = \"a.\"\nlog = 1\n";
    let faults = config(&text).expect_err("faults").to_string();
    let want = [
        "node.toml:6: client.adverdise: there is no such setting; did you mean client.advertise?",
        "node.toml:16: admin.bind: \"foo\" is not an address; write host:port, for example 0.0.0.0:7400",
        "node.toml:18: limits.sesions_max: there is no such setting; did you mean limits.sessions_max?",
        "node.toml:19: limits.hello_timeout: \"5\" is not a time from 1s to 60s; \
         write a whole number with its unit (ms, s, m, h, d), for example 10s",
        "node.toml:21: namespace.prefix: \"a.\" is not a prefix; \
         write whole segments without a wildcard or a dot at the end, for example \"live\" or \"chat.rooms\"",
        "node.toml:22: namespace.log: \"1\" is not yes or no; write true or false",
        "node.toml: client.advertise: client.bind listens on every address, so clients cannot be told one; \
         write advertise = \"fra-1.example.com:7400\" below [client]",
    ];
    assert_eq!(faults.lines().collect::<Vec<_>>(), want);
}

#[test]
fn everything_missing_is_listed() {
    let faults = config("").expect_err("faults").to_string();
    let required = SETTINGS.iter().filter(|s| matches!(s.otherwise, Otherwise::Required(_)));
    for setting in required {
        assert!(
            faults.contains(&format!("node.toml: {}: is missing; write ", setting.key)),
            "{}: {faults}",
            setting.key
        );
    }
    assert!(faults.contains("write client_key = \"client.key\" below [tls]"), "{faults}");
}

#[test]
fn broken_toml_is_told_by_line_beside_other_faults() {
    let faults = config("mesh = \nname = fra-1\nweight = 17\nname = \"x\"\n[client\n").expect_err("faults").to_string();
    for line in [1, 2, 5] {
        assert!(faults.contains(&format!("node.toml:{line}: this is not TOML: ")), "{line}: {faults}");
    }
    assert!(faults.contains("node.toml:3: weight: \"17\" is not a whole number from 1 to 16"), "{faults}");
    assert!(!faults.contains("is missing"), "{faults}");
}

#[test]
fn a_bare_word_is_told_what_to_write() {
    let told = |line: &str| faults(&format!("{line}\n")).join("\n");
    let namespace = "[[namespace]]\nprefix = \"live\"\n";
    assert_eq!(
        told(&format!("{namespace}log = no # volatile")),
        "node.toml:17: this is not TOML: \"no\" is not a value; write false"
    );
    assert!(told(&format!("{namespace}log = True")).ends_with("\"True\" is not a value; write true"));
    assert!(told("[log]\nsync = enabled").ends_with("write it in quotes: \"enabled\""));
    assert!(told("[log]\nsync = \u{7f}").contains("this is not TOML: "));
}

#[test]
fn a_key_written_twice_is_a_fault() {
    let faults = config(&format!("name = \"a\"{LEAST}")).expect_err("faults").to_string();
    assert!(faults.starts_with("node.toml:3: this is not TOML: duplicate key"), "{faults}");
}

#[test]
fn faults_outside_the_file_name_their_source() {
    let environment = |name: &str| (name == "FARWIRE_WEIGHT").then(|| "x".to_owned());
    let sets = [("client.bnd".to_owned(), "1".to_owned()), ("namespace.log".to_owned(), "false".to_owned())];
    let faults = Config::parse(LEAST, Path::new("node.toml"), environment, &sets).expect_err("faults").to_string();
    let want = [
        "environment FARWIRE_WEIGHT: weight: \"x\" is not a whole number from 1 to 16; write one, without a unit",
        "--set: client.bnd: there is no such setting; did you mean client.bind?",
        "--set: namespace.log: namespaces are the same on every node; write them into the file",
    ];
    assert_eq!(faults.lines().collect::<Vec<_>>(), want);
}

#[test]
fn a_misplaced_key_is_told_its_section() {
    let more = "[membership]\nsessions_max = 1\n[log]\nbananas = 1\n[colour]\nred = 1\n";
    let faults = faults(more);
    assert!(faults[0].ends_with("did you mean limits.sessions_max?"), "{faults:?}");
    assert!(faults[1].ends_with("remove it, or use one of log.sync, log.cache_bytes"), "{faults:?}");
    assert!(faults[2].starts_with("node.toml:19: colour: there is no such setting; remove it"), "{faults:?}");
}

#[test]
fn two_sockets_cannot_share_a_port() {
    let with = |bind: &str| [("peer.bind".to_owned(), bind.to_owned())];
    let load = |bind| Config::parse(LEAST, Path::new("node.toml"), |_| None, &with(bind));
    let faults = load("127.0.0.1:7400").expect_err("0.0.0.0 holds it").to_string();
    assert!(faults.starts_with("--set: peer.bind: client.bind and peer.bind are both"), "{faults}");
    assert!(load("127.0.0.1:0").is_ok() && load("127.0.0.1:7480").is_ok(), "TCP and UDP do not meet");
}

#[test]
fn an_address_that_is_no_wildcard_needs_no_advertise() {
    let text = LEAST.replace("client.advertise = \"fra-1.example.com:7400\"", "client.bind = \"127.0.0.1:0\"");
    assert_eq!(config(&text).expect("sound").client.advertise, None);
}

#[test]
fn namespaces_are_read_with_their_defaults() {
    let more = "[[namespace]]\nprefix = \"live\"\nlog = false\n[[namespace]]\nprefix = \"pay\"\norder = \"global\"\n\
                home = \"fra\"\nretention_age = \"7d\"\nretention_count = 10\nregions = [\"fra\", \"iad\"]\n";
    let config = config(&format!("{LEAST}{more}")).expect("sound");
    let of = |channel| config.namespaces.of(&ChannelName::parse(channel).expect("a channel"));
    assert!(!of("live.x").log && of("other").log);
    let pay = of("pay.eur");
    assert_eq!((pay.order, pay.home.as_ref().map(RegionName::as_str)), (Order::Global, Some("fra")));
    assert_eq!((pay.retention_age, pay.retention_count), (Duration::from_secs(7 * 86_400), Some(10)));
    assert_eq!((pay.retention_bytes, pay.presence_interval_above, pay.regions.len()), (64 << 20, 100, 2));
}

#[test]
fn namespaces_that_contradict_themselves_are_faults() {
    let with = |settings: &str| faults(&format!("[[namespace]]\nprefix = \"a\"\n{settings}\n")).join("\n");
    assert!(with("order = \"global\"").contains("node.toml:17: namespace.order: \"global\" needs a region"));
    assert!(with("home = \"fra\"").contains("only a global order has a home"));
    assert!(
        with("order = \"global\"\nhome = \"fra\"\nregions = [\"iad\"]").contains("not among the namespace's regions")
    );
    assert!(with("log = false\norder = \"global\"\nhome = \"fra\"").contains("volatile channels have no order"));
    assert!(with("log = false\nconflate = true").contains("volatile channels keep no values"));
    assert!(with("order = \"total\"").contains("\"total\" is not known here; write \"region\" or \"global\""));
    assert!(with("retention = \"1h\"").contains("namespace.retention: there is no such setting; "));
    assert!(
        with("[[namespace]]\nprefix = \"a\"")
            .contains("node.toml:18: namespace.prefix: \"a\" has its settings at node.toml:16")
    );
    assert!(with("[[namespace]]\nlog = true").contains("node.toml:17: namespace.prefix: is missing"));
}

#[test]
fn sections_and_settings_are_not_mixed_up() {
    assert!(faults("[[limits]]\n")[0].contains("limits: is a section; write [limits]"));
    assert!(faults("[log]\nsync = [true]\n")[0].contains("takes one value, not a list"));
    assert!(faults("[log.sync]\n")[0].contains("log.sync: takes a value, not a table"));
    assert!(faults("[namespace]\nprefix = \"a\"\n")[0].contains("write [[namespace]] before each"));
}

#[test]
fn a_config_that_is_not_there_is_one_fault() {
    let faults = Config::load(Path::new("missing/node.toml"), |_| None, &[]).expect_err("no file").to_string();
    assert!(faults.starts_with("missing/node.toml: cannot be read: "), "{faults}");
}

#[test]
fn the_table_is_sound() {
    let mut config = Config::blank();
    apply_defaults(SETTINGS, &mut config);
    let variables: std::collections::BTreeSet<_> = SETTINGS.iter().map(|s| environment_name(s.key)).collect();
    assert_eq!(variables.len(), SETTINGS.len(), "two settings share an environment variable");
    for taken in ["FARWIRE_CONTEXT", "FARWIRE_SERVER", "FARWIRE_CA", "FARWIRE_TOKEN"] {
        assert!(!variables.contains(taken), "{taken} belongs to client commands");
    }
    for setting in SETTINGS {
        if let Otherwise::Required(example) = setting.otherwise {
            let example: toml::Value = toml::from_str(&format!("x = {example}")).expect("the example is TOML");
            assert!(example.get("x").is_some());
        }
    }
}

mod opened;

mod shipped_file {
    use super::*;

    fn text() -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/config/node.toml");
        std::fs::read_to_string(path).expect("the shipped file is there")
    }

    /// Whether a commented line, without its `# `, is TOML rather than prose.
    fn is_setting(line: &str) -> bool {
        let is_key = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| is_key(key))
    }

    fn uncommented(text: &str) -> String {
        let line =
            |line: &str| line.strip_prefix("# ").filter(|line| is_setting(line)).unwrap_or(line).to_owned() + "\n";
        text.lines().map(line).collect()
    }

    /// Every line `# For example: key = value`.
    fn examples(text: &str) -> Vec<(&str, String)> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("# For example: ")?.split_once(" = "));
        lines.map(|(key, value)| (key, value.trim_matches('"').to_owned())).collect()
    }

    #[test]
    fn what_is_commented_out_is_the_default() {
        let text = text();
        let shipped = config(&text).expect("sound as it is shipped");
        let mut spelt_out = config(&uncommented(&text)).expect("sound when uncommented");
        let live = Namespace { prefix: ChannelName::parse("live").ok(), ..Namespace::default() };
        assert_eq!(spelt_out.namespaces, Namespaces::new([live]));
        spelt_out.namespaces = Namespaces::new([]);
        assert_eq!(content(&shipped), content(&spelt_out));
    }

    #[test]
    fn only_what_has_no_default_is_filled_in() {
        let shipped = config(&text()).expect("sound");
        for setting in SETTINGS {
            let filled_in = shipped.places.contains_key(setting.key);
            assert_eq!(filled_in, !matches!(setting.otherwise, Otherwise::Default(_)), "{}", setting.key);
        }
    }

    #[test]
    fn every_setting_is_explained_in_it() {
        let text = text();
        let spelt_out = config(&uncommented(&text)).expect("sound when uncommented");
        for setting in SETTINGS {
            assert!(spelt_out.places.contains_key(setting.key), "{} is not in deploy/config/node.toml", setting.key);
        }
        let (_, namespace) = text.split_once("# [[namespace]]").expect("a namespace");
        for setting in NAMESPACE {
            let written = [format!("\n# {} = ", setting.key), format!("\n# For example: {} = ", setting.key)];
            assert!(written.iter().any(|line| namespace.contains(line)), "{} is not in it", setting.key);
        }
    }

    #[test]
    fn examples_are_optional_settings_with_sound_values() {
        let text = text();
        let examples = examples(&text);
        let optional: Vec<_> = NAMESPACE.iter().filter(|s| s.otherwise == Otherwise::Unset).map(|s| s.key).collect();
        assert_eq!(examples.iter().map(|(key, _)| *key).collect::<Vec<_>>(), optional);
        for (key, value) in examples {
            let setting = NAMESPACE.iter().find(|setting| setting.key == key).expect("known");
            let given = Given { value: &Value::Text(value), dir: Path::new("") };
            assert_eq!((setting.set)(&mut Namespace::default(), &given), Ok(()), "{key}");
        }
    }
}
