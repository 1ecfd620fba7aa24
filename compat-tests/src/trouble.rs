//! Trouble for a broker that runs: system calls that fail, by way of strace, and a disk of its own that can be made to fail.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::broker::{Broker, skip};
use crate::unique;

/// Longest wait for strace to be there.
const ATTACH: Duration = Duration::from_secs(10);

/// System calls on some files fail as long as this lives.
pub struct Failing {
    strace: Child,
    log: PathBuf,
}

impl Failing {
    /// These system calls of the broker, on these files, fail with this error from now on. `None`, with a message: strace is
    /// not here, or may not do that.
    pub fn calls(broker: &Broker, calls: &str, error: &str, files: &[PathBuf]) -> Option<Failing> {
        let log = std::env::temp_dir().join(unique("pyralog-strace"));
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &broker.pid().to_string(), "-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:error={error}"), "-o"]).arg(&log);
        for file in files {
            command.arg("-P").arg(file);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let Ok(mut strace) = command.spawn() else {
            skip("strace is not installed", "apt-get install strace");
            return None;
        };
        let stderr = BufReader::new(strace.stderr.take().expect("stderr"));
        let (said, lines) = mpsc::channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(said.send(line))));
        let failing = Failing { strace, log };
        match lines.recv_timeout(ATTACH) {
            Ok(line) if line.contains("attached") => Some(failing),
            Ok(line) => {
                skip(&format!("strace cannot attach ({line})"), "run the tests as root, with CAP_SYS_PTRACE");
                None
            }
            Err(_) => {
                skip("strace does not attach", "run the tests as root, with CAP_SYS_PTRACE");
                None
            }
        }
    }

    /// How many calls have failed by now.
    pub fn count(&self) -> usize {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains("INJECTED")).count()
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // It lets go of the broker by itself.
        let _ = kill_process(Pid::from_child(&self.strace), Signal::TERM);
        let _ = self.strace.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}

/// An ext4 of its own in a file, which becomes read-only on its first error; needs root.
pub struct LoopDisk {
    image: PathBuf,
    folder: PathBuf,
}

impl LoopDisk {
    /// Makes and mounts one of so many MiB. `None`, with a message: that is not allowed here.
    pub fn mount(mib: u64) -> Option<LoopDisk> {
        let image = std::env::temp_dir().join(unique("pyralog-disk-image"));
        let disk = LoopDisk { folder: std::env::temp_dir().join(unique("pyralog-disk")), image };
        std::fs::create_dir_all(&disk.folder).expect("a folder");
        std::fs::File::create(&disk.image).and_then(|file| file.set_len(mib << 20)).expect("an image");
        if run(Command::new("mkfs.ext4").arg("-q").arg(&disk.image)) && disk.mount_again() {
            return Some(disk);
        }
        skip("cannot make and mount a file system", "run the tests as root with e2fsprogs and CAP_SYS_ADMIN");
        None
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The kernel finds an error in it, and makes it read-only. False, with a message: this kernel cannot be told to.
    pub fn fail(&self) -> bool {
        let output = Command::new("findmnt").args(["-no", "SOURCE"]).arg(&self.folder).output();
        let device = output.map(|found| String::from_utf8_lossy(&found.stdout).trim().to_owned()).unwrap_or_default();
        let name = device.rsplit('/').next().unwrap_or_default().to_owned();
        let failed = std::fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "test").is_ok();
        if !failed {
            skip("the kernel cannot be told to fail a file system", "run the tests as root with a writable /sys");
        }
        failed
    }

    /// Repairs it, as an operator would, and mounts it again. Nobody may use it meanwhile.
    pub fn repair(&self) {
        assert!(run(Command::new("umount").arg(&self.folder)), "umount");
        // 1: errors were corrected.
        let checked = Command::new("e2fsck").args(["-f", "-y"]).arg(&self.image).output().expect("e2fsck");
        assert!(matches!(checked.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&checked.stdout));
        assert!(self.mount_again(), "mount");
    }

    fn mount_again(&self) -> bool {
        run(Command::new("mount").args(["-o", "loop,errors=remount-ro"]).arg(&self.image).arg(&self.folder))
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.folder));
        let _ = std::fs::remove_dir(&self.folder);
        let _ = std::fs::remove_file(&self.image);
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
