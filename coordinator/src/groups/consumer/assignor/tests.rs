//! The assignors alone: what they promise, on given and on random groups.

use std::collections::BTreeSet;

use pyralog_protocol::Draw;

use super::*;

fn id(n: u8) -> TopicId {
    TopicId([n; 16])
}

/// `t1: 0+1` of members, in order; topics are numbers. `sizes` are the partition counts of topics 1, 2, and so on.
struct Table {
    members: Vec<(Option<String>, Vec<u8>, Partitions)>,
    counts: BTreeMap<TopicId, i32>,
}

impl Table {
    fn new(sizes: &[i32]) -> Self {
        Self { members: Vec::new(), counts: (1u8..).map(id).zip(sizes.iter().copied()).collect() }
    }

    fn member(mut self, topics: &[u8], before: &[(u8, &[i32])]) -> Self {
        let before = before.iter().flat_map(|(topic, ps)| ps.iter().map(|p| (id(*topic), *p))).collect();
        self.members.push((None, topics.to_vec(), before));
        self
    }

    fn instance(mut self, name: &str, topics: &[u8]) -> Self {
        self.members.push((Some(name.to_string()), topics.to_vec(), Partitions::default()));
        self
    }

    fn run(&self, assignor: Assignor) -> Vec<Partitions> {
        let subject = |(instance, topics, before): &'_ (Option<String>, Vec<u8>, Partitions)| {
            let topics: Rc<[TopicId]> = topics.iter().map(|t| id(*t)).collect();
            (instance.clone(), topics, before.clone())
        };
        let owned: Vec<_> = self.members.iter().map(subject).collect();
        let subjects: Vec<Subject<'_>> = owned
            .iter()
            .map(|(instance, topics, before)| Subject { instance: instance.as_deref(), topics: topics.clone(), before })
            .collect();
        assign(assignor, &subjects, &self.counts)
    }

    fn show(&self, assignor: Assignor) -> Vec<String> {
        let show = |share: Partitions| {
            let topic = |(topic, ps): (TopicId, &BTreeSet<i32>)| {
                format!("{}:{}", topic.0[0], ps.iter().map(i32::to_string).collect::<Vec<_>>().join("+"))
            };
            share.by_topic().map(topic).collect::<Vec<_>>().join(" ")
        };
        self.run(assignor).into_iter().map(show).collect()
    }
}

#[test]
fn range_cuts_each_topic_and_meets_equal_partitions_at_one_member() {
    let table = Table::new(&[3, 3]).member(&[1, 2], &[]).member(&[1, 2], &[]);
    assert_eq!(table.show(Assignor::Range), ["1:0+1 2:0+1", "1:2 2:2"]);
    let table = Table::new(&[1, 5]).member(&[1, 2], &[]).member(&[2], &[]).member(&[1, 2], &[]);
    assert_eq!(table.show(Assignor::Range), ["1:0 2:0+1", "2:2+3", "2:4"]);
    let table = Table::new(&[2]).member(&[1], &[]).member(&[1], &[]).member(&[1], &[]).member(&[], &[]);
    assert_eq!(table.show(Assignor::Range), ["1:0", "1:1", "", ""]);
}

#[test]
fn range_takes_static_members_first_by_instance() {
    let table = Table::new(&[4]).member(&[1], &[]).instance("b", &[1]).instance("a", &[1]);
    assert_eq!(table.show(Assignor::Range), ["1:3", "1:2", "1:0+1"]);
}

#[test]
fn uniform_gives_equally_many_and_moves_as_little_as_it_can() {
    let table = Table::new(&[4]).member(&[1], &[(1, &[0, 1, 2, 3])]).member(&[1], &[]);
    assert_eq!(table.show(Assignor::Uniform), ["1:0+1", "1:2+3"]);
    // Who has one more already keeps it, whatever its place in the list.
    let table = Table::new(&[5]).member(&[1], &[(1, &[0, 1])]).member(&[1], &[(1, &[2, 3, 4])]);
    assert_eq!(table.show(Assignor::Uniform), ["1:0+1", "1:2+3+4"]);
    let table = Table::new(&[3, 3]).member(&[1, 2], &[]).member(&[1, 2], &[]).member(&[1, 2], &[]);
    assert_eq!(table.show(Assignor::Uniform), ["1:0+1", "1:2 2:0", "2:1+2"]);
    // Topics that are gone, or got smaller.
    let table = Table::new(&[2]).member(&[1], &[(1, &[0, 7]), (9, &[0])]).member(&[1], &[(1, &[1])]);
    assert_eq!(table.show(Assignor::Uniform), ["1:0", "1:1"]);
    assert_eq!(Table::new(&[]).show(Assignor::Uniform), Vec::<String>::new());
}

#[test]
fn uniform_balances_members_with_different_subscriptions() {
    let table = Table::new(&[3, 3]).member(&[1], &[]).member(&[1, 2], &[]).member(&[2], &[]);
    assert_eq!(table.show(Assignor::Uniform), ["1:0+2", "1:1 2:1", "2:0+2"]);
    let table = Table::new(&[6, 2]).member(&[1, 2], &[(1, &[0, 1, 2, 3, 4, 5]), (2, &[0, 1])]).member(&[1], &[]);
    assert_eq!(table.show(Assignor::Uniform), ["1:0+1 2:0+1", "1:2+3+4+5"]);
    // Nothing may be kept of a topic that is not subscribed to any more.
    let table = Table::new(&[2, 2]).member(&[2], &[(1, &[0, 1])]).member(&[1, 2], &[]);
    assert_eq!(table.show(Assignor::Uniform), ["2:0+1", "1:0+1"]);
}

/// A random group, and one that comes after it.
fn random(draw: &mut Draw, before: Option<(&Table, Vec<Partitions>)>) -> Table {
    let mut pick = |n: u64| draw.next_u64() % n;
    let sizes: Vec<i32> = (0..1 + pick(5)).map(|_| i32::try_from(pick(12)).unwrap()).collect();
    let alike = pick(2) == 0;
    let all: Vec<u8> = (1..=u8::try_from(sizes.len()).unwrap()).collect();
    let mut table = Table::new(&sizes);
    let count = 1 + pick(7);
    for i in 0..count {
        let topics = all.iter().copied().filter(|_| alike || pick(2) == 0).collect();
        let old = before.as_ref().and_then(|(_, shares)| shares.get(usize::try_from(i).unwrap())).cloned();
        let instance = (pick(4) == 0).then(|| format!("i{i}"));
        table.members.push((instance, topics, old.unwrap_or_default()));
    }
    table
}

#[test]
fn random_groups_get_every_partition_once_and_stay_as_they_are_without_a_change() {
    let mut draw = Draw::new(7);
    let mut before: Option<(Table, Vec<Partitions>)> = None;
    for round in 0..20_000 {
        let table = random(&mut draw, before.as_ref().map(|(table, shares)| (table, shares.clone())));
        let assignor = if round % 2 == 0 { Assignor::Uniform } else { Assignor::Range };
        let shares = table.run(assignor);
        assert_eq!(shares.len(), table.members.len());
        let mut seen = BTreeSet::new();
        for ((_, topics, _), share) in table.members.iter().zip(&shares) {
            for (topic, partition) in share.iter() {
                assert!(topics.contains(&topic.0[0]), "round {round}: not subscribed");
                assert!(seen.insert((topic, partition)), "round {round}: given twice");
            }
        }
        let wanted: usize = table
            .counts
            .iter()
            .filter(|(topic, _)| table.members.iter().any(|(_, topics, _)| topics.contains(&topic.0[0])))
            .map(|(_, count)| usize::try_from(*count).unwrap())
            .sum();
        assert_eq!(seen.len(), wanted, "round {round}: not all are given");
        if assignor == Assignor::Uniform {
            check_balance(round, &table, &shares);
        }
        let mut again = Table { members: table.members.clone(), counts: table.counts.clone() };
        for (member, share) in again.members.iter_mut().zip(&shares) {
            member.2 = share.clone();
        }
        assert_eq!(again.run(assignor), shares, "round {round}: moves without a reason");
        before = Some((table, shares));
    }
}

/// No partition could go to somebody who has two fewer.
fn check_balance(round: usize, table: &Table, shares: &[Partitions]) {
    for (from, share) in shares.iter().enumerate() {
        for (topic, _) in share.by_topic() {
            for (to, (_, topics, _)) in table.members.iter().enumerate() {
                let subscribes = topics.contains(&topic.0[0]);
                let gain = share.len() > shares[to].len() + 1;
                assert!(
                    !(subscribes && gain),
                    "round {round}: {from} has {} and {to} {}",
                    share.len(),
                    shares[to].len()
                );
            }
        }
    }
}

/// 2,000 members and 200,000 partitions, the limits of a default broker.
#[test]
fn the_largest_group_is_assigned_in_a_moment() {
    for alike in [true, false] {
        let sizes = vec![1000; 200];
        let mut table = Table::new(&sizes);
        for i in 0..2000usize {
            let topics = (1..=200u8).filter(|t| alike || (usize::from(*t) + i).is_multiple_of(3)).collect();
            table.members.push((None, topics, Partitions::default()));
        }
        let shares = table.run(Assignor::Uniform);
        assert_eq!(shares.iter().map(Partitions::len).sum::<usize>(), 200_000);
        assert_eq!(table.run(Assignor::Range).iter().map(Partitions::len).sum::<usize>(), 200_000);
    }
}
