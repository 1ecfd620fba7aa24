//! The image: built by `docker/image` from the binary under test, run by testcontainers, used as a client uses it.
//!
//! Needs the cargo feature `docker` and an engine; `tools/test` sees to both where it can. The container shares the
//! host's network, so that an engine without bridges will do.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use pyralog_compat_tests::broker::binary;
use pyralog_compat_tests::calls::metadata_request;
use pyralog_compat_tests::{Batch, Conn, skip, unique};
use testcontainers::core::{ExecCommand, Mount, WaitFor};
use testcontainers::runners::SyncRunner;
use testcontainers::{Container, GenericImage, ImageExt};

const IMAGE: &str = "pyralog";
const TAG: &str = "test";
/// Within this time a container must be healthy; the image's own check runs every ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(arguments).output().map_err(|e| e.to_string())?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn inspect(container: &Container<GenericImage>, format: &str) -> String {
    docker(&["inspect", "--format", format, container.id()]).expect("docker inspect")
}

fn build_image() {
    let folder = pyralog_compat_tests::crate_folder();
    let root = folder.parent().expect("the repository");
    let built = Command::new(root.join("docker/image"))
        .arg(format!("{IMAGE}:{TAG}"))
        .env("PYRALOG_BIN", binary())
        .output()
        .expect("docker/image runs");
    assert!(built.status.success(), "docker/image: {}", String::from_utf8_lossy(&built.stderr));
}

/// A named volume that goes with the test.
struct Volume(String);

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = docker(&["volume", "rm", "--force", &self.0]);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A healthy node on the volume, hardened as in the Compose file, and the port of its Kafka listener.
fn start(volume: &Volume) -> (Container<GenericImage>, u16) {
    let (kafka, http) = (free_port(), free_port());
    let container = GenericImage::new(IMAGE, TAG)
        .with_wait_for(WaitFor::message_on_stdout("pyralog ready"))
        .with_wait_for(WaitFor::healthcheck())
        .with_network("host")
        .with_env_var("PYRALOG_KAFKA_LISTEN", format!("127.0.0.1:{kafka}"))
        .with_env_var("PYRALOG_HTTP_LISTEN", format!("127.0.0.1:{http}"))
        .with_env_var("PYRALOG_NUM_PARTITIONS", "3")
        .with_mount(Mount::volume_mount(&volume.0, "/data"))
        .with_readonly_rootfs(true)
        .with_cap_drop("ALL")
        .with_startup_timeout(PATIENCE)
        .start()
        .expect("the container becomes healthy");
    (container, kafka)
}

#[test]
fn image_serves_as_an_ordinary_user_and_its_volume_survives() {
    if let Err(why) = docker(&["version", "--format", "{{.Server.Version}}"]) {
        return skip(&format!("needs a Docker engine: {why}"), "start one, or run as root with `dockerd` installed");
    }
    build_image();
    let volume = Volume(unique("pyralog-test"));
    let (container, port) = start(&volume);

    let owners = docker(&["top", container.id(), "-eo", "pid,uid"]).expect("docker top");
    assert!(owners.lines().skip(1).all(|line| line.trim().ends_with(" 65532")), "not only user 65532: {owners}");
    let health = container.exec(ExecCommand::new(["/pyralog", "health"])).expect("pyralog health runs");
    while health.exit_code().expect("an exit code").is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(health.exit_code().expect("an exit code"), Some(0));

    let mut conn = Conn::connect(&format!("127.0.0.1:{port}"));
    let name = unique("docker");
    conn.call(4, &metadata_request(&[&name]).with_allow_auto_topic_creation(true));
    conn.wait_for_topic(&name, 3); // PYRALOG_NUM_PARTITIONS
    let sent = Batch::of("kept", 3).encode();
    assert_eq!(conn.append(&name, 0, &sent), 0);
    drop(conn);

    container.stop().expect("docker stop");
    assert_eq!(inspect(&container, "{{.State.ExitCode}}"), "0", "a clean stop");
    container.rm().expect("docker rm");

    let (_container, port) = start(&volume);
    let mut conn = Conn::connect(&format!("127.0.0.1:{port}"));
    let stored = conn.read(&name, 0, 0);
    assert_eq!(stored[0].bytes[21..], sent[21..], "what was written before");
    assert_eq!(stored[0].leader_epoch, 0, "the volume was left cleanly");
}
