//! `pyralog group ...`: groups of consumers.

use std::collections::BTreeMap;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use pyralog_client::{GroupError, GroupReset, LogId, LogOffset, PyralogClient};
use serde::Serialize;

use super::failure::Failure;
use super::output::{self, Row};
use super::target::{Target, nearest};
use super::{confirm, values};

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List all groups
    List(ListArgs),
    /// Show a group: its members, how far it is, and its lag
    Describe(DescribeArgs),
    /// Put the offsets of a group without members elsewhere
    Reset(ResetArgs),
    /// Delete groups without members, with their offsets
    Delete(DeleteArgs),
}

/// Flags of `pyralog group list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print JSON: an array of objects with group, kind, state, protocol_type
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog group describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// Name of the group
    pub group: String,
    /// Print JSON: an object with group, state, members, positions and more
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog group reset`.
#[derive(Debug, Args)]
#[group(id = "where", required = true, multiple = false, args = ["to", "shift"])]
pub struct ResetArgs {
    /// Name of the group
    pub group: String,
    /// Only this log, or this partition of it, as LOG or LOG:PARTITION; may be repeated [default: all partitions that the
    /// group has offsets for]
    #[arg(long, short, value_name = "LOG[:N]", value_parser = scope)]
    pub log: Vec<(LogId, Option<u32>)>,
    /// Where to: earliest, latest, an offset, a moment as 2026-11-25T14:30:00Z or @UNIX_SECONDS, or how long ago as 2h
    #[arg(long, value_name = "POSITION", value_parser = values::position, allow_hyphen_values = true)]
    pub to: Option<values::From>,
    /// So many records on, or back if negative
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub shift: Option<i64>,
    /// Show what would be done, and do nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Print JSON: an array of objects with log, partition, from_offset, to_offset
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

fn scope(text: &str) -> Result<(LogId, Option<u32>), String> {
    let (log, partition) = match text.rsplit_once(':') {
        Some((log, partition)) => {
            let partition = partition.parse().map_err(|_| format!("{partition:?} is no number of a partition"))?;
            (log, Some(partition))
        }
        None => (text, None),
    };
    Ok((values::log(log)?, partition))
}

/// Flags of `pyralog group delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Names of the groups
    #[arg(required = true, value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Succeed if there is no group of that name
    #[arg(long)]
    pub if_exists: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Runs one of them.
pub async fn run(command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::List(args) => list(args).await,
        GroupCommand::Describe(args) => describe(args).await,
        GroupCommand::Reset(args) => reset(args).await,
        GroupCommand::Delete(args) => delete(args).await,
    }
}

/// What failed, with the nearest group there is if one is missing.
async fn suggest(client: &PyralogClient, group: &str, error: GroupError) -> Failure {
    let is_unknown = matches!(error, GroupError::Unknown { .. });
    let failure = Failure::from(error);
    if !is_unknown {
        return failure;
    }
    let groups = client.list_groups().await.unwrap_or_default();
    match nearest(group, groups.iter().map(|known| known.group.as_str())) {
        Some(name) => failure.hint(&format!("; is {} meant?", output::harmless(name))),
        None => failure.hint("; `pyralog group list` shows those that are there"),
    }
}

#[derive(Serialize)]
struct Listed {
    group: String,
    kind: String,
    state: String,
    protocol_type: String,
}

impl Row for Listed {
    const COLUMNS: &'static [&'static str] = &["GROUP", "KIND", "STATE", "PROTOCOL"];

    fn cells(&self) -> Vec<String> {
        let protocol = if self.protocol_type.is_empty() { "-" } else { &self.protocol_type };
        vec![self.group.clone(), self.kind.clone(), self.state.clone(), protocol.to_owned()]
    }
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let client = args.target.connect().await?;
    let listed = client.list_groups().await?.into_iter().map(|group| Listed {
        group: group.group,
        kind: group.kind.to_string(),
        state: group.state,
        protocol_type: group.protocol_type,
    });
    output::print_rows(args.json, &listed.collect::<Vec<_>>())
}

#[derive(Serialize)]
struct Described {
    group: String,
    kind: String,
    state: String,
    protocol_type: String,
    assignor: String,
    coordinator: i32,
    epoch: Option<i32>,
    members: Vec<Member>,
    positions: Vec<Position>,
}

#[derive(Serialize)]
struct Member {
    member_id: String,
    instance_id: Option<String>,
    client_id: String,
    host: String,
    epoch: Option<i32>,
    assignment: BTreeMap<String, Vec<u32>>,
}

impl Row for Member {
    const COLUMNS: &'static [&'static str] = &["CLIENT", "HOST", "MEMBER", "PARTITIONS"];

    fn cells(&self) -> Vec<String> {
        let of_log = |(log, partitions): (&String, &Vec<u32>)| {
            let numbers = partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            format!("{log}:{numbers}")
        };
        let assignment = self.assignment.iter().map(of_log).collect::<Vec<_>>().join(" ");
        let assignment = if assignment.is_empty() { "-".to_owned() } else { assignment };
        vec![self.client_id.clone(), self.host.clone(), self.member_id.clone(), assignment]
    }
}

#[derive(Serialize)]
struct Position {
    log: String,
    partition: u32,
    committed_offset: i64,
    end_offset: Option<i64>,
    lag: Option<u64>,
    member_id: Option<String>,
}

impl Row for Position {
    const COLUMNS: &'static [&'static str] = &["LOG", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"];

    fn cells(&self) -> Vec<String> {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            self.log.clone(),
            self.partition.to_string(),
            self.committed_offset.to_string(),
            or_none(self.end_offset.map(|end| end.to_string())),
            or_none(self.lag.map(|lag| lag.to_string())),
            or_none(self.member_id.clone()),
        ]
    }
}

async fn describe(args: DescribeArgs) -> Result<(), Failure> {
    let client = args.target.connect().await?;
    let described = match described(&client, &args.group).await {
        Ok(described) => described,
        Err(error) => return Err(suggest(&client, &args.group, error).await),
    };
    if args.json {
        return output::print_json(&described);
    }
    let lag = described.positions.iter().filter_map(|at| at.lag).fold(0, u64::saturating_add);
    let pairs = [
        ("group", described.group.clone()),
        ("kind", described.kind.clone()),
        ("state", described.state.clone()),
        ("assignor", if described.assignor.is_empty() { "-".to_owned() } else { described.assignor.clone() }),
        ("coordinator", format!("node {}", described.coordinator)),
        ("members", described.members.len().to_string()),
        ("lag", lag.to_string()),
    ];
    let mut page = output::fields(&pairs);
    if !described.members.is_empty() {
        page.push_str(&format!("\n{}", output::table(&described.members)));
    }
    if !described.positions.is_empty() {
        page.push_str(&format!("\n{}", output::table(&described.positions)));
    }
    output::print(&page)
}

async fn described(client: &PyralogClient, group: &str) -> Result<Described, GroupError> {
    let found = client.describe_group(group).await?;
    let positions = client.group_positions(group).await?;
    let owner = |log: &LogId, partition: u32| {
        let owns = |member: &&pyralog_client::GroupMember| {
            member.assignment.get(log.as_str()).is_some_and(|partitions| partitions.contains(&partition))
        };
        found.members.iter().find(owns).map(|member| member.member_id.clone())
    };
    let positions: Vec<Position> = positions
        .iter()
        .map(|at| Position {
            log: at.log.to_string(),
            partition: at.partition,
            committed_offset: at.committed.0,
            end_offset: at.end.map(|end| end.0),
            lag: at.lag(),
            member_id: owner(&at.log, at.partition),
        })
        .collect();
    let members = found.members.into_iter().map(|member| Member {
        member_id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.host,
        epoch: member.epoch,
        assignment: member.assignment,
    });
    Ok(Described {
        group: found.group,
        kind: found.kind.to_string(),
        state: found.state,
        protocol_type: found.protocol_type,
        assignor: found.assignor,
        coordinator: found.coordinator.0,
        epoch: found.epoch,
        members: members.collect(),
        positions,
    })
}

#[derive(Serialize)]
struct Change {
    log: String,
    partition: u32,
    from_offset: Option<i64>,
    to_offset: i64,
}

impl Row for Change {
    const COLUMNS: &'static [&'static str] = &["LOG", "PARTITION", "FROM", "TO"];

    fn cells(&self) -> Vec<String> {
        let from = self.from_offset.map_or_else(|| "-".to_owned(), |from| from.to_string());
        vec![self.log.clone(), self.partition.to_string(), from, self.to_offset.to_string()]
    }
}

/// What the flags say.
fn wanted(args: &ResetArgs) -> Result<GroupReset, Failure> {
    use pyralog_client::StartAt;
    match (args.to, args.shift) {
        (Some(values::From::At(at)), _) => Ok(match at {
            StartAt::Earliest => GroupReset::Earliest,
            StartAt::Latest => GroupReset::Latest,
            StartAt::Offset(offset) => GroupReset::Offset(offset),
            StartAt::Time(time) => GroupReset::Time(time.max(SystemTime::UNIX_EPOCH)),
        }),
        (Some(values::From::Last(count)), _) => {
            Err(Failure::usage(format!("--to -{count} is no position; --shift -{count} goes back by so many records")))
        }
        (None, Some(by)) => Ok(GroupReset::Shift(by)),
        (None, None) => Err(Failure::usage("--to or --shift is needed")),
    }
}

async fn reset(args: ResetArgs) -> Result<(), Failure> {
    let wanted = wanted(&args)?;
    let client = args.target.connect().await?;
    // Offsets may be put before anybody has read; a name that is mistyped would make a new group then, so logs have to be named.
    if args.log.is_empty()
        && let Err(error) = client.describe_group(&args.group).await
    {
        return Err(suggest(&client, &args.group, error).await);
    }
    let plan = match client.plan_group_reset(&args.group, &args.log, wanted).await {
        Ok(plan) => plan,
        Err(GroupError::UnknownLog { log }) => {
            let name = log.to_string();
            return Err(super::target::suggest_log(&client, &name, GroupError::UnknownLog { log }).await);
        }
        Err(error) => return Err(suggest(&client, &args.group, error).await),
    };
    if !args.dry_run && !plan.is_empty() {
        let question = format!("Reset {} offsets of group {}?", plan.len(), output::harmless(&args.group));
        confirm(args.yes, &question)?;
        client.reset_group(&args.group, &plan).await?;
    }
    let offset = |offset: LogOffset| offset.0;
    let changes = plan.into_iter().map(|change| Change {
        log: change.log.to_string(),
        partition: change.partition,
        from_offset: change.from.map(offset),
        to_offset: change.to.0,
    });
    output::print_rows(args.json, &changes.collect::<Vec<_>>())
}

async fn delete(args: DeleteArgs) -> Result<(), Failure> {
    let client = args.target.connect().await?;
    let names = args.groups.iter().map(|group| output::harmless(group)).collect::<Vec<_>>().join(", ");
    confirm(args.yes, &format!("Delete {names} with all offsets?"))?;
    for group in &args.groups {
        let shown = output::harmless(group);
        match client.delete_group(group).await {
            Ok(()) => output::print(&format!("deleted {shown}\n"))?,
            Err(GroupError::Unknown { .. }) if args.if_exists => {
                output::print(&format!("there is no group {shown}\n"))?
            }
            Err(error) => return Err(suggest(&client, group, error).await),
        }
    }
    Ok(())
}
