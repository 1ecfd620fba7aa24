//! What a local process used, from `/proc` (Linux).

use std::time::Duration;

use crate::error::BenchError;

/// Processor time and memory of a process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// User and system time since its start.
    pub cpu: Duration,
    /// Resident bytes.
    pub resident: u64,
}

/// Looks at a process; `None`: at this one.
pub fn usage(pid: Option<u32>) -> Result<Usage, BenchError> {
    let folder = pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{pid}"));
    let read = |name: &str| {
        std::fs::read_to_string(format!("{folder}/{name}"))
            .map_err(|error| BenchError::System { what: format!("{folder}/{name} (is --pid right?)"), error })
    };
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let usage = parse(&read("stat")?, &read("status")?, ticks_per_second);
    usage.ok_or_else(|| BenchError::Options(format!("{folder} does not look as on Linux; leave out --pid")))
}

/// `stat` has the command in parentheses, which may hold anything; user and system time are fields 14 and 15.
fn parse(stat: &str, status: &str, ticks_per_second: u64) -> Option<Usage> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()?.checked_add(fields.next()?.parse().ok()?)?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.split_whitespace().next()?.parse().ok()?;
    let cpu = Duration::from_secs(ticks).checked_div(u32::try_from(ticks_per_second).ok()?)?;
    Some(Usage { cpu, resident: kib.checked_mul(1024)? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Usage, parse, usage};

    #[test]
    fn cpu_and_memory_are_found_whatever_the_command_is_called() {
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        let found = parse(stat, "Name:\ta\nVmRSS:\t  2048 kB\n", 100);
        assert_eq!(found, Some(Usage { cpu: Duration::from_secs(2), resident: 2 << 20 }));
        assert_eq!(parse("nonsense", "VmRSS: 1 kB", 100), None);
        assert_eq!(parse(stat, "", 100), None);
    }

    #[test]
    fn this_process_can_be_looked_at_and_a_missing_one_is_named() {
        assert!(usage(None).expect("this process").resident > 0);
        let error = usage(Some(u32::MAX)).expect_err("no such process").to_string();
        assert!(error.contains("--pid"), "{error}");
    }
}
