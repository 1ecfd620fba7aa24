//! Which source wins, and what is refused.

use super::*;

fn config_file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pyralog-settings-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

fn gather(flags: ServerArgs, env: &[(&str, &str)], file: &str, name: &str) -> Result<Settings, SettingsError> {
    let path = config_file(name, file);
    let args = ServerArgs { config: Some(path.clone()), ..flags };
    let gathered = Settings::gather(args, env.iter().map(|(n, v)| (n.into(), v.into())));
    std::fs::remove_file(path).unwrap();
    gathered
}

fn config<'a>(settings: &'a Settings, name: &str) -> Option<&'a str> {
    settings.configs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = "[server]\nkafka_listen = \"file:1\"\n[broker]\n\"num.partitions\" = 3\n";
    let env = [("PYRALOG_KAFKA_LISTEN", "env:2"), ("PYRALOG_NUM_PARTITIONS", "4")];
    let flags = || ServerArgs {
        kafka_listen: Some("flag:3".into()),
        set: vec!["num.partitions=5".into()],
        ..ServerArgs::default()
    };
    let cases = [
        (gather(flags(), &env, file, "flag"), "flag:3", Some("5")),
        (gather(ServerArgs::default(), &env, file, "env"), "env:2", Some("4")),
        (gather(ServerArgs::default(), &[], file, "file"), "file:1", Some("3")),
        (gather(ServerArgs::default(), &[], "", "default"), "127.0.0.1:9092", None),
    ];
    for (settings, listen, partitions) in cases {
        let settings = settings.unwrap();
        assert_eq!(settings.kafka_listen, listen);
        assert_eq!(config(&settings, "num.partitions"), partitions);
    }
}

#[test]
fn names_with_dots_may_be_tables_or_strings() {
    let file = "[broker]\nnum.partitions = 3\n\"log.retention.ms\" = 5\nauto.create.topics.enable = false\n";
    let settings = gather(ServerArgs::default(), &[], file, "dots").unwrap();
    assert_eq!(config(&settings, "num.partitions"), Some("3"));
    assert_eq!(config(&settings, "log.retention.ms"), Some("5"));
    assert_eq!(config(&settings, "auto.create.topics.enable"), Some("false"));
    let date = gather(ServerArgs::default(), &[], "[broker]\nx = 2026-01-01\n", "date");
    assert!(matches!(date, Err(SettingsError::Configs(_))));
    let unknown = gather(ServerArgs::default(), &[], "[serve]\n", "unknown");
    assert!(matches!(unknown, Err(SettingsError::Syntax { .. })));
}

#[test]
fn one_plaintext_listener_is_understood_and_nothing_else() {
    let set = |text: &str| ServerArgs { set: vec![text.to_owned()], ..ServerArgs::default() };
    let settings = gather(set("listeners=PLAINTEXT://127.0.0.1:9"), &[], "", "one").unwrap();
    assert_eq!(settings.kafka_listen, "127.0.0.1:9");
    assert_eq!(config(&settings, "listeners"), None, "it is used up");
    let advertised = gather(set("advertised.listeners=PLAINTEXT://box:9"), &[], "", "adv").unwrap();
    assert_eq!(advertised.advertise, Some(("box".into(), 9)));
    for wrong in ["listeners=SSL://h:1", "listeners=PLAINTEXT://a:1,PLAINTEXT://b:2", "listeners=h:1"] {
        assert!(matches!(gather(set(wrong), &[], "", "wrong"), Err(SettingsError::Configs(_))), "{wrong}");
    }
    assert!(matches!(gather(set("no value"), &[], "", "novalue"), Err(SettingsError::Set(_))));
}

#[test]
fn addresses_by_kafkas_names_come_from_where_they_stand() {
    let flags = |own: Option<&str>, set: bool| ServerArgs {
        kafka_listen: own.map(Into::into),
        advertise: own.map(Into::into),
        set: if set {
            ["", "advertised."].map(|name| format!("{name}listeners=PLAINTEXT://set:2")).into()
        } else {
            vec![]
        },
        ..ServerArgs::default()
    };
    let own = [("PYRALOG_KAFKA_LISTEN", "own-variable:3"), ("PYRALOG_ADVERTISE", "own-variable:3")];
    let kafkas =
        [("PYRALOG_LISTENERS", "PLAINTEXT://variable:4"), ("PYRALOG_ADVERTISED_LISTENERS", "PLAINTEXT://variable:4")];
    let both: Vec<_> = own.into_iter().chain(kafkas).collect();
    let own_file = "[server]\nkafka_listen = \"own-file:5\"\nadvertise = \"own-file:5\"\n";
    let kafka_file = "[broker]\nlisteners = \"PLAINTEXT://file:6\"\nadvertised.listeners = \"PLAINTEXT://file:6\"\n";
    let file = format!("{own_file}{kafka_file}");
    let cases = [
        (flags(Some("flag:1"), true), &both[..], &*file, "flag:1", 2),
        (flags(None, true), &both[..], &*file, "set:2", 0),
        (flags(None, false), &both, &file, "own-variable:3", 2),
        (flags(None, false), &kafkas, &file, "variable:4", 0),
        (flags(None, false), &[], &file, "own-file:5", 2),
        (flags(None, false), &[], kafka_file, "file:6", 0),
    ];
    for (flags, env, file, wins, told) in cases {
        let settings = gather(flags, env, file, "addresses").unwrap();
        assert_eq!(settings.kafka_listen, wins);
        let advertise = settings.advertise.as_ref().map(|(host, port)| format!("{host}:{port}"));
        assert_eq!(advertise.as_deref(), Some(wins));
        assert_eq!(settings.warnings.len(), told, "{wins}: {:?}", settings.warnings);
        assert!(config(&settings, "listeners").is_none() && config(&settings, "advertised.listeners").is_none());
    }
}

#[test]
fn op_01_an_address_that_sends_clients_to_themselves_is_not_advertised() {
    let advertise = |text: &str, name: &str| {
        gather(ServerArgs { advertise: Some(text.to_owned()), ..ServerArgs::default() }, &[], "", name)
    };
    let to_themselves = ["0.0.0.0:9092", "[::]:9092", "[::0]:9092", ":9092", "[]:9092"];
    let malformed =
        ["host", "host:0", "host:70000", "PLAINTEXT://host:9092", "http://host:1", "a host:1", "*:1", "[host]:1"];
    for wrong in to_themselves.into_iter().chain(malformed) {
        let refused = advertise(wrong, "bad").unwrap_err().to_string();
        assert!(refused.contains(wrong), "{refused}");
    }
    for (host, port) in [("::1", 1), ("fe80::1%eth0", 2), ("10.0.0.1", 3), ("my_host-1.example", 4)] {
        let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        assert_eq!(advertise(&text, "good").unwrap().advertise, Some((host.into(), port)), "{text}");
    }
}

#[test]
fn declared_logs_take_the_short_names_and_any_config() {
    let file = "[logs.orders]\npartition_count = 4\nretention_hours = 2\nmin_in_sync_replicas = 1\n\
                config.cleanup.policy = \"compact\"\n";
    let settings = gather(ServerArgs::default(), &[], file, "logs").unwrap();
    let log = &settings.logs[0];
    assert_eq!((log.log.as_str(), log.partition_count), ("orders", Some(4)));
    let has = |name: &str, value: &str| log.configs.iter().any(|(n, v)| n == name && v == value);
    assert!(has("retention.ms", "7200000") && has("min.insync.replicas", "1") && has("cleanup.policy", "compact"));
    for wrong in [
        "[logs.\"a/b\"]\n",
        "[logs.a]\nretention_hours = -5\n",
        "[logs.a]\nretention_hours = 9_000_000_000_000_000_000\n",
    ] {
        assert!(gather(ServerArgs::default(), &[], wrong, "badlog").is_err(), "{wrong}");
    }
    for (hours, ms) in [(-1, "-1"), (0, "0")] {
        let file = format!("[logs.a]\nretention_hours = {hours}\n");
        let settings = gather(ServerArgs::default(), &[], &file, "hours").unwrap();
        assert_eq!(settings.logs[0].configs, [("retention.ms".to_owned(), ms.to_owned())]);
    }
}

#[test]
fn a_foreign_variable_is_told_and_no_error() {
    let env = [("PYRALOG_PORT", "tcp://10.0.0.1:9092"), ("PYRALOG_NUM_PARTITION", "3"), ("HOME", "/root")];
    let settings = gather(ServerArgs::default(), &env, "", "foreign").unwrap();
    assert_eq!(settings.warnings.len(), 2, "{:?}", settings.warnings);
    assert!(settings.warnings.iter().any(|w| w.contains("num.partitions")), "{:?}", settings.warnings);
}

#[test]
fn what_the_commands_for_people_read_is_no_foreign_variable() {
    let settings = gather(ServerArgs::default(), &[("PYRALOG_BOOTSTRAP", "localhost:9092")], "", "bootstrap").unwrap();
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
}

#[test]
fn a_variable_that_is_no_text_is_refused_if_it_is_ours_and_nothing_otherwise() {
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    let gather = |name: &std::ffi::OsStr| {
        let file = ServerArgs { config: Some("/dev/null".into()), ..ServerArgs::default() };
        Settings::gather(file, [(name.to_owned(), odd.to_owned())].into_iter())
    };
    assert!(gather("FOO".as_ref()).is_ok() && gather(odd).is_ok());
    let refused = gather("PYRALOG_KAFKA_LISTEN".as_ref()).unwrap_err().to_string();
    assert!(refused.contains("PYRALOG_KAFKA_LISTEN is not UTF-8"), "{refused}");
}

#[test]
fn names_of_which_one_begins_with_another_are_told_to_need_quotes() {
    let file = "[broker]\nmax.connections = 5\nmax.connections.per.ip = 3\n";
    let refused = gather(ServerArgs::default(), &[], file, "extends").unwrap_err().to_string();
    assert!(refused.contains("\"max.connections\" = 100"), "{refused}");
    let file = "[broker]\n\"max.connections\" = 5\n\"max.connections.per.ip\" = 3\n";
    let settings = gather(ServerArgs::default(), &[], file, "quoted").unwrap();
    assert_eq!(config(&settings, "max.connections.per.ip"), Some("3"));
}
