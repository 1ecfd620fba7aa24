//! Bad input from the terminal and from the machine: wrong settings, wrong folders, too few resources. Each ends within
//! seconds with a clear message on stderr and an exit code that is not 0; a full disk is survived.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, GroupId, IncrementalAlterConfigsRequest, JoinGroupRequest,
    JoinGroupResponse, OffsetCommitResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use pyralog_compat_tests::calls::eventually;
use pyralog_compat_tests::draw::Draw;
use pyralog_compat_tests::groups::commit_request;
use pyralog_compat_tests::{Batch, Broker, BrokerOptions, Conn, Record, own_brokers, private, skip, text, unique};

/// KAFKA_STORAGE_ERROR, which clients retry.
const STORAGE_ERROR: i16 = 56;
/// COORDINATOR_NOT_AVAILABLE, which clients retry.
const COORDINATOR_NOT_AVAILABLE: i16 = 15;

/// The start must fail by itself, and stderr must contain all of `words`.
fn expect_refusal(options: BrokerOptions, words: &[&str]) {
    if !own_brokers() {
        return;
    }
    let failed = match Broker::try_start(options) {
        Ok(_) => panic!("it started; expected a refusal with {words:?}"),
        Err(failed) => failed,
    };
    let status = failed.status.unwrap_or_else(|| panic!("it neither served nor ended; stderr:\n{}", failed.stderr));
    assert!(status.code().is_some_and(|c| c != 0), "ended with {status}; stderr:\n{}", failed.stderr);
    for word in words {
        assert!(failed.stderr.contains(word), "stderr does not say {word:?}:\n{}", failed.stderr);
    }
    assert!(!failed.stderr.contains("panicked"), "a panic is no message:\n{}", failed.stderr);
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let path = std::env::temp_dir().join(unique("pyralog-compat-folder"));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A small file system of its own; needs root.
struct SmallDisk(Folder);

impl SmallDisk {
    fn mount(size: &str) -> Option<SmallDisk> {
        let folder = Folder::new();
        let options = format!("size={size}");
        if run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"], folder.path()) {
            return Some(SmallDisk(folder));
        }
        skip("cannot mount a small file system", "run the tests as root, in a container with CAP_SYS_ADMIN");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l"], self.0.path());
    }
}

fn run(command: &str, arguments: &[&str], path: &Path) -> bool {
    Command::new(command).args(arguments).arg(path).output().is_ok_and(|o| o.status.success())
}

#[test]
fn unknown_setting_suggests_the_nearest() {
    expect_refusal(BrokerOptions::new().set("num.partition", "4"), &["num.partition", "num.partitions"]);
    expect_refusal(BrokerOptions::new().set("pyralog.durabilty", "fsync"), &["pyralog.durability"]);
}

#[test]
fn bad_values_are_named() {
    expect_refusal(BrokerOptions::new().set("num.partitions", "many"), &["num.partitions", "many"]);
    expect_refusal(BrokerOptions::new().set("num.partitions", "0"), &["num.partitions", "0"]);
    expect_refusal(BrokerOptions::new().set("log.cleanup.policy", "shred"), &["log.cleanup.policy", "shred"]);
    expect_refusal(BrokerOptions::new().set("pyralog.durability", "maybe"), &["pyralog.durability", "maybe"]);
    expect_refusal(BrokerOptions::new().argument("--set").argument("num.partitions"), &["num.partitions"]);
}

#[test]
fn unknown_flags_are_named() {
    expect_refusal(BrokerOptions::new().argument("--dta").argument("x"), &["--dta", "--data"]);
}

#[test]
fn illegal_log_names_in_the_file() {
    let folder = Folder::new();
    let file = folder.path().join("pyralog.toml");
    std::fs::write(&file, "[logs.\"a b\"]\npartition_count = 1\n").expect("write");
    let options = || BrokerOptions::new().argument("--config").argument(file.to_str().expect("a path"));
    expect_refusal(options(), &["a b"]);
    std::fs::write(&file, "[logs.a]\npartition_cont = 1\n").expect("write");
    expect_refusal(options(), &["partition_cont"]);
    std::fs::write(&file, "[logs.a\n").expect("write");
    expect_refusal(options(), &["pyralog.toml"]);
    std::fs::remove_file(&file).expect("remove");
    expect_refusal(options(), &["pyralog.toml"]);
}

#[test]
fn occupied_port_and_impossible_address() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    expect_refusal(BrokerOptions::new().kafka_listen(&address), &[&address, "--kafka-listen"]);
    expect_refusal(BrokerOptions::new().kafka_listen("nonsense"), &["nonsense"]);
}

#[test]
fn folder_of_another_version() {
    let folder = Folder::new();
    {
        let Some(mut broker) = private(BrokerOptions::new().data(folder.path())) else { return };
        broker.terminate();
    }
    let format = folder.path().join("format");
    std::fs::write(&format, "99\n").expect("the folder has a format file");
    expect_refusal(BrokerOptions::new().data(folder.path()), &["format", "99"]);
    assert_eq!(std::fs::read_to_string(&format).expect("read"), "99\n", "nothing was changed");
}

#[test]
fn folder_with_something_else_in_it() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("holiday.jpg"), b"not a log").expect("write");
    expect_refusal(BrokerOptions::new().data(folder.path()), &[folder.path().to_str().expect("a path")]);
    assert!(folder.path().join("holiday.jpg").exists());
    expect_refusal(BrokerOptions::new().data(&folder.path().join("holiday.jpg")), &["holiday.jpg"]);
}

/// Without the store nobody knows whose the logs are: a new one would move them aside with the first topic of their names.
#[test]
fn io_06_logs_without_the_metadata_store() {
    let folder = Folder::new();
    let Some(mut broker) = private(BrokerOptions::new().data(folder.path())) else { return };
    let (name, _) = broker.connect().new_topic("kept", 1, &[]);
    broker.connect().append(&name, 0, &Batch::of("v", 3).encode());
    broker.terminate();
    let (store, aside) = (folder.path().join("coordinator"), folder.path().join(".coordinator"));
    std::fs::rename(&store, &aside).expect("moved away");
    expect_refusal(BrokerOptions::new().data(folder.path()), &["no metadata store", &format!("{name}-0")]);
    std::fs::rename(&aside, &store).expect("put back");
    broker.restart();
    assert_eq!(broker.connect().end_offset(&name, 0), 3);
}

#[test]
fn second_process_on_the_same_folder() {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("second", 1, &[]);
    expect_refusal(BrokerOptions::new().data(broker.folder()), &["another process"]);
    assert_eq!(conn.append(&name, 0, &Batch::of("v", 1).encode()), 0, "the first one is not hurt");
}

#[test]
fn read_only_folder() {
    let Some(disk) = SmallDisk::mount("64m") else { return };
    {
        let Some(mut broker) = private(BrokerOptions::new().data(&disk.path().join("data"))) else { return };
        broker.terminate();
    }
    assert!(run("mount", &["-o", "remount,ro"], disk.path()), "remount");
    expect_refusal(BrokerOptions::new().data(&disk.path().join("data")), &["data"]);
    expect_refusal(BrokerOptions::new().data(&disk.path().join("new")), &["new"]);
}

#[test]
fn too_few_file_descriptors() {
    expect_refusal(BrokerOptions::new().wrapper(&["prlimit", "--nofile=64:64", "--"]), &["open files", "ulimit -n"]);
}

#[test]
fn running_out_of_file_descriptors_is_survived() {
    let options = BrokerOptions::new().wrapper(&["prlimit", "--nofile=150:150", "--"]);
    let Some(mut broker) = private(options) else { return };
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("descriptors", 1, &[]);
    let address = broker.kafka().parse().expect("an address");
    // More than there are descriptors for; the last ones may wait in the listener's queue, or not even get there.
    let connect = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok();
    let many: Vec<_> = (0..240).filter_map(connect).collect();
    assert!(many.len() > 150, "{}", many.len());
    std::thread::sleep(Duration::from_millis(300));
    assert!(broker.is_alive());
    // Logs have a share of the descriptors that connections cannot take.
    conn.append(&name, 0, &Batch::of("v", 1).encode());
    drop(many);
    conn.append(&name, 0, &Batch::of("v", 1).encode());
    eventually("new connections are served again", || {
        let mut fresh = broker.connect();
        let (_, body) = fresh.encode(12, &pyralog_compat_tests::calls::metadata_request(&[]));
        let sent = fresh.try_send_bytes(&pyralog_compat_tests::conn::frame(&body)).is_ok();
        (sent && matches!(fresh.outcome(Duration::from_secs(2)), pyralog_compat_tests::conn::Outcome::Answer(_)))
            .then_some(())
    });
}

/// Many more active partitions than descriptors, and as many connections as there are descriptors for.
#[test]
fn op_12_no_append_fails_with_256_descriptors_1000_partitions_and_500_connections() {
    const PARTITIONS: i32 = 1000;
    for durability in ["fsync", "memory"] {
        let options = BrokerOptions::new().wrapper(&["prlimit", "--nofile=256:256", "--"]);
        let Some(broker) = private(options) else { return };
        let mut conn = broker.connect();
        let (name, _) = conn.new_topic("many", PARTITIONS, &[("pyralog.durability", durability)]);
        let address = broker.kafka().parse().expect("an address");
        let connect = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok();
        let idle: Vec<_> = (0..500).filter_map(connect).collect();
        assert!(idle.len() > 256, "{}", idle.len());
        for round in 0..3 {
            for partition in 0..PARTITIONS {
                assert_eq!(conn.append(&name, partition, &Batch::of("v", 1).encode()), round);
            }
        }
        for partition in 0..PARTITIONS {
            assert_eq!(conn.read(&name, partition, 0).len(), 3, "partition {partition}");
        }
        let open = std::fs::read_dir(format!("/proc/{}/fd", broker.pid())).expect("/proc of the broker").count();
        assert!(open < 256, "{open}");
    }
}

/// The kernel allows 65,530 maps by default, and containers few io_uring contexts or none.
#[test]
fn io_13_io_22_segments_take_no_memory_maps_and_nothing_goes_by_io_uring() {
    const PARTITIONS: i32 = 300;
    /// Threads, the allocator and tables of the metadata store take some: less than one for each partition.
    const OTHERS: usize = 200;
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    let maps = || {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", broker.pid())).expect("/proc of the broker");
        maps.lines().count()
    };
    let before = maps();
    let configs = [("segment.ms", "1000"), ("index.interval.bytes", "0"), ("retention.ms", "-1")];
    let (name, _) = conn.new_topic("maps", PARTITIONS, &configs);
    for partition in 0..PARTITIONS {
        for (offset, time) in [(0, 1_000), (1, 1_500), (2, 100_000)] {
            assert_eq!(conn.append(&name, partition, &Batch::of("v", 1).stamped(time).encode()), offset);
        }
        assert_eq!(conn.read(&name, partition, 1)[0].base_offset, 1, "in the sealed segment");
        assert_eq!(conn.list_offset(&name, partition, 1_500).offset, 1);
    }
    let after = maps();
    assert!(after < before + OTHERS, "{before} maps, then {after} with {PARTITIONS} partitions of two segments");
    let open = std::fs::read_dir(format!("/proc/{}/fd", broker.pid())).expect("/proc of the broker").flatten();
    let open: Vec<_> = open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect();
    assert!(!open.iter().any(|to| to.to_string_lossy().contains("io_uring")), "{open:?}");
}

#[test]
fn full_disk_refuses_writes_serves_reads_and_recovers() {
    let Some(disk) = SmallDisk::mount("128m") else { return };
    let filler = disk.path().join("filler");
    let mut file = std::fs::File::create(&filler).expect("create");
    file.write_all(&vec![1; 64 << 20]).expect("write");
    drop(file);
    let Some(mut broker) = private(BrokerOptions::new().data(&disk.path().join("data"))) else { return };
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("full", 1, &[]);
    let batch = Batch::new(vec![Record::of(&"x".repeat(500_000))]).encode();
    let mut acknowledged = 0;
    let refused = loop {
        let answer = conn.produce(&name, 0, &batch);
        if answer.error_code != 0 {
            break answer.error_code;
        }
        assert_eq!(answer.base_offset, acknowledged);
        acknowledged += 1;
        assert!(acknowledged < 400, "a disk of 128 MiB took {acknowledged} batches of 500 kB");
    };
    assert_eq!(refused, STORAGE_ERROR, "after {acknowledged} batches");
    assert!(broker.is_alive());
    // By another thread than the one that refuses. The first refusal may come from the books alone, and the next look find that
    // there is room: it is told once appends are refused for good.
    eventually("the log says what to do", || {
        let told = broker.stderr().contains("appends are refused until there is room");
        if !told && conn.produce(&name, 0, &batch).error_code == 0 {
            acknowledged += 1;
        }
        told.then_some(())
    });
    assert_eq!(commit(&mut conn, &name, 1), 0, "committed offsets go on in the reserve");
    assert_eq!(conn.read(&name, 0, 0)[0].base_offset, 0, "reads go on");
    assert_eq!(conn.end_offset(&name, 0), acknowledged);

    std::fs::remove_file(&filler).expect("remove");
    eventually("writes are taken again", || (conn.produce(&name, 0, &batch).error_code == 0).then_some(()));
    let end = conn.end_offset(&name, 0);
    assert!(end > acknowledged);
    broker.kill9();
    broker.restart();
    let mut conn = broker.connect();
    conn.wait_for_topic(&name, 1);
    assert!(conn.end_offset(&name, 0) >= end, "acknowledged records survive");
    for offset in [0, acknowledged - 1, end - 1] {
        assert_eq!(conn.read(&name, 0, offset)[0].base_offset, offset);
    }
}

/// Code and words of the answer to a creation.
fn create(conn: &mut Conn, name: &str, partitions: i32) -> (i16, String) {
    let topic =
        CreatableTopic::default().with_name(name_of(name)).with_num_partitions(partitions).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_timeout_ms(10_000).with_topics(vec![topic]);
    let answer: CreateTopicsResponse = conn.call(5, &request);
    let topic = &answer.topics[0];
    (topic.error_code, topic.error_message.as_ref().map(ToString::to_string).unwrap_or_default())
}

fn name_of(name: &str) -> TopicName {
    TopicName(StrBytes::from(name.to_owned()))
}

#[test]
fn op_10_a_volume_without_inodes_is_a_full_one_and_the_broker_lives_and_recovers() {
    let Some(disk) = SmallDisk::mount("256m,nr_inodes=1600") else { return };
    let Some(mut broker) = private(BrokerOptions::new().data(&disk.path().join("data"))) else { return };
    let mut conn = broker.connect();
    let (kept, _) = conn.new_topic("kept", 1, &[]);
    conn.append(&kept, 0, &Batch::of("v", 1).encode());
    let fillers = disk.path().join("fillers");
    std::fs::create_dir(&fillers).expect("a folder");
    let take = |count: usize| {
        let files = (0..count).map(|n| fillers.join(n.to_string())).filter(|path| !path.exists());
        files.map_while(|path| std::fs::File::create(path).ok()).count()
    };
    // More partitions than there are inodes for: what is kept of them is left, and nobody else is stopped.
    take(600);
    let many = unique("many");
    create(&mut conn, &many, 1_000);
    eventually("new logs are refused", || {
        let (code, why) = create(&mut conn, &unique("more"), 1);
        (code == STORAGE_ERROR && why.contains("inodes")).then_some(())
    });
    conn.append(&kept, 0, &Batch::of("v", 1).encode());

    take(720);
    eventually("appends are refused", || {
        (conn.produce(&kept, 0, &Batch::of("v", 1).encode()).error_code == STORAGE_ERROR).then_some(())
    });
    assert_eq!(commit(&mut conn, &kept, 1), 0, "committed offsets go on");
    assert!(!conn.read(&kept, 0, 0).is_empty(), "and reads");
    broker.expect_said(&["hardly any inodes"]);
    assert!(broker.metric("pyralog_disk_free_inodes") < broker.metric("pyralog_disk_reserve_inodes"));

    take(1_600);
    eventually("commits are refused", || (commit(&mut conn, &kept, 2) == COORDINATOR_NOT_AVAILABLE).then_some(()));
    assert!(broker.is_alive());
    conn.delete_topic(&many);
    std::fs::remove_dir_all(&fillers).expect("remove");
    eventually("appends are taken again", || {
        (conn.produce(&kept, 0, &Batch::of("v", 1).encode()).error_code == 0).then_some(())
    });
    assert_eq!(commit(&mut conn, &kept, 2), 0);
    assert!(broker.is_alive());
}

#[test]
fn op_10_a_full_volume_is_started_on_again_and_again_however_the_broker_ends() {
    let Some(disk) = SmallDisk::mount("64m") else { return };
    let Some(mut broker) = private(BrokerOptions::new().data(&disk.path().join("data"))) else { return };
    let mut conn = broker.connect();
    let (kept, _) = conn.new_topic("kept", 2, &[]);
    for _ in 0..20 {
        conn.append(&kept, 0, &Batch::of("v", 1).encode());
    }
    eventually("there is ballast", || disk.path().join("data/ballast-start").exists().then_some(()));
    for round in 0..4 {
        if round % 2 == 0 {
            broker.kill9()
        } else {
            broker.terminate()
        }
        fill(&disk.path().join(format!("filler{round}")));
        broker.restart();
        let mut conn = broker.connect();
        conn.wait_for_topic(&kept, 2);
        assert_eq!(conn.end_offset(&kept, 0), 20);
        assert_eq!(conn.read(&kept, 0, 19)[0].base_offset, 19);
        assert_eq!(conn.produce(&kept, 0, &Batch::of("v", 1).encode()).error_code, STORAGE_ERROR);
        if round % 2 == 1 {
            // A stop in order has something to write, a kill has not.
            fill(&disk.path().join(format!("filler{round}b")));
        }
    }
}

#[test]
fn op_10_a_start_that_finds_no_room_at_all_says_so_and_the_next_one_that_does_loses_nothing() {
    let Some(disk) = SmallDisk::mount("64m") else { return };
    let Some(mut broker) = private(BrokerOptions::new().data(&disk.path().join("data"))) else { return };
    let mut conn = broker.connect();
    let (kept, _) = conn.new_topic("kept", 1, &[]);
    conn.append(&kept, 0, &Batch::of("v", 1).encode());
    broker.kill9();
    for ballast in ["ballast", "ballast-start"] {
        let _ = std::fs::remove_file(disk.path().join("data").join(ballast));
    }
    fill(&disk.path().join("filler"));
    for _ in 0..2 {
        let failed = broker.try_restart().expect_err("there is no room");
        assert!(
            failed.stderr.contains("the disk is full") && failed.stderr.contains("free some space"),
            "{}",
            failed.stderr
        );
    }
    std::fs::remove_file(disk.path().join("filler")).expect("remove");
    broker.restart();
    let mut conn = broker.connect();
    conn.wait_for_topic(&kept, 1);
    assert_eq!(conn.read(&kept, 0, 0).len(), 1);
}

/// Error code of a commit for the only partition.
fn commit(conn: &mut Conn, name: &str, offset: i64) -> i16 {
    let answer: OffsetCommitResponse = conn.call(8, &commit_request("full", &[(name, 0, offset)]));
    answer.topics[0].partitions[0].error_code
}

/// Somebody else takes every byte there is.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("create");
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

#[test]
fn op_10_somebody_else_takes_the_last_byte_and_the_broker_lives_and_recovers() {
    let Some(disk) = SmallDisk::mount("256m") else { return };
    let options = || BrokerOptions::new().data(&disk.path().join("data"));
    let Some(mut broker) = private(options()) else { return };
    let mut conn = broker.connect();
    let (kept, _) = conn.new_topic("kept", 1, &[]);
    let (doomed, _) = conn.new_topic("doomed", 1, &[]);
    let batch = Batch::new(vec![Record::of(&"x".repeat(500_000))]).encode();
    for _ in 0..20 {
        assert_eq!(conn.produce(&kept, 0, &batch).error_code, 0);
        assert_eq!(conn.produce(&doomed, 0, &batch).error_code, 0);
    }
    assert_eq!(commit(&mut conn, &kept, 7), 0);
    fill(&disk.path().join("filler"));
    // Its segment has room taken ahead: until somebody looks at the disk, what fits there is taken.
    let mut acknowledged = 20;
    eventually("appends are refused", || match conn.produce(&kept, 0, &batch).error_code {
        STORAGE_ERROR => Some(()),
        code => {
            acknowledged += i64::from(code == 0);
            None
        }
    });
    eventually("commits are refused", || (commit(&mut conn, &kept, 8) == COORDINATOR_NOT_AVAILABLE).then_some(()));
    assert_eq!(conn.read(&kept, 0, 19)[0].base_offset, 19, "reads go on");
    assert!(broker.is_alive());
    broker.expect_said(&["the disk is full"]);

    // What is on it has to be enough to come back, with nothing lost, even on a disk that is as full as before.
    broker.kill9();
    broker.restart();
    let mut conn = broker.connect();
    conn.wait_for_topic(&kept, 1);
    assert_eq!((conn.end_offset(&kept, 0), conn.end_offset(&doomed, 0)), (acknowledged, 20));
    conn.delete_topic(&doomed);
    let logs = disk.path().join("data/logs");
    let waits = || {
        std::fs::read_dir(&logs).expect("logs").flatten().any(|e| e.path().extension().is_some_and(|e| e == "deleted"))
    };
    eventually("no file.delete.delay.ms on a full disk", || (!waits()).then_some(()));
    std::fs::remove_file(disk.path().join("filler")).expect("remove");
    eventually("appends are taken again", || (conn.produce(&kept, 0, &batch).error_code == 0).then_some(()));
    assert_eq!(commit(&mut conn, &kept, 9), 0);
    broker.expect_said(&["appends are taken"]);
}

/// Sets configs of a log (2) or of brokers (4).
fn set(conn: &mut Conn, kind: i8, name: &str, configs: &[(String, String)]) -> i16 {
    let configs = configs.iter().map(|(name, value)| {
        AlterableConfig::default().with_name(text(name)).with_config_operation(0).with_value(Some(text(value)))
    });
    let resource = AlterConfigsResource::default().with_resource_type(kind).with_resource_name(text(name));
    let request =
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource.with_configs(configs.collect())]);
    conn.call(1, &request).responses[0].error_code
}

#[test]
fn op_10_configs_do_not_fill_a_full_disk_and_shorter_retention_is_taken() {
    let Some(disk) = SmallDisk::mount("256m") else { return };
    let Some(mut broker) = private(BrokerOptions::new().data(&disk.path().join("data"))) else { return };
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("full", 1, &[]);
    // Values that do not compress: what somebody keeps here for a plug-in.
    let mut draw = Draw::seeded(1);
    let mut value = || (0..2000).map(|_| format!("{:016x}", draw.bits())).collect::<String>();
    let mut plugin = || (0..20).map(|n| (format!("my.plugin.{n}"), value())).collect::<Vec<_>>();
    fill(&disk.path().join("filler"));
    eventually("commits are refused", || (commit(&mut conn, &name, 1) == COORDINATOR_NOT_AVAILABLE).then_some(()));
    for _ in 0..20 {
        assert_eq!(set(&mut conn, 4, "", &plugin()), STORAGE_ERROR);
    }
    assert!(broker.is_alive());
    assert_eq!(set(&mut conn, 2, &name, &[("retention.ms".to_owned(), "1000".to_owned())]), 0);
    let mut retention = |ms: i32| set(&mut conn, 2, &name, &[("retention.ms".to_owned(), ms.to_string())]);
    let taken = (2000..22_000).take_while(|ms| retention(*ms) == 0).count();
    assert!(taken > 10 && taken < 20_000, "{taken} changes in a row");
    assert_eq!(retention(3000), STORAGE_ERROR);
    assert!(broker.is_alive());
    std::fs::remove_file(disk.path().join("filler")).expect("remove");
    eventually("they are taken", || (set(&mut conn, 4, "", &plugin()) == 0).then_some(()));
    assert!(broker.is_alive());
}

/// Joins a group with so many bytes of metadata; gives the code of the answer.
fn join(conn: &mut Conn, group: &str, metadata: usize) -> i16 {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(vec![7; metadata].into());
    let request = JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let answer: JoinGroupResponse = conn.call(3, &request);
    answer.error_code
}

#[test]
fn op_10_large_requests_do_not_take_what_is_kept_for_the_metadata_store() {
    let Some(disk) = SmallDisk::mount("256m") else { return };
    let Some(mut broker) = private(BrokerOptions::new().data(&disk.path().join("data"))) else { return };
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("full", 1, &[]);
    let batch = Batch::new(vec![Record::of(&"x".repeat(900_000))]).encode();
    eventually("the reserve has begun", || (conn.produce(&name, 0, &batch).error_code == STORAGE_ERROR).then_some(()));
    assert_eq!(commit(&mut conn, &name, 1), 0, "there is room for metadata");
    assert_eq!(create(&mut conn, "large", 10_000).0, STORAGE_ERROR, "as long as they take less than there is");
    let codes: Vec<i16> = std::thread::scope(|scope| {
        let broker = &broker;
        let joins = (0..40).map(|n| scope.spawn(move || join(&mut broker.connect(), &format!("group-{n}"), 1_000_000)));
        let joins: Vec<_> = joins.collect();
        joins.into_iter().map(|join| join.join().expect("an answer")).collect()
    });
    assert!(codes.iter().all(|code| [0, COORDINATOR_NOT_AVAILABLE].contains(code)), "{codes:?}");
    assert!(codes.contains(&0) && codes.contains(&COORDINATOR_NOT_AVAILABLE), "{codes:?}");
    assert!(broker.is_alive());
    assert_eq!(conn.read(&name, 0, 0)[0].base_offset, 0);
    conn.delete_topic(&name);
    eventually("there is room again", || (create(&mut conn, "small", 1).0 == 0).then_some(()));
}
