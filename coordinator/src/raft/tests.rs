//! What the loop and its stores promise, shown on crash after crash. Seeds are printed with each failure; a seed is
//! replayed by putting it into the loop of its test.
#![allow(clippy::unwrap_used, clippy::disallowed_types, clippy::disallowed_methods, reason = "tests")]

mod cluster;
mod crash;
mod figures;
mod format;
mod open;
mod planted;
mod rocks;

use std::collections::BTreeMap;

use pyralog_protocol::Draw;
use serde::{Deserialize, Serialize};

use super::*;
use crate::record::{Family, Placement};

/// A record as simple as the three placements allow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Cell {
    Set { row: u8, column: u8, value: u64 },
    Clear { row: u8, column: u8 },
    ClearRow { row: u8 },
}

impl StateRecord for Cell {
    fn placement(&self) -> Placement {
        match self {
            Self::Set { row, column, .. } => Placement::Put(family(*row), vec![*row, *column]),
            Self::Clear { row, column } => Placement::Delete(family(*row), vec![*row, *column]),
            Self::ClearRow { row } => Placement::DeletePrefix(family(*row), vec![*row]),
        }
    }
}

fn family(row: u8) -> Family {
    if row.is_multiple_of(2) { Family::Meta } else { Family::Groups }
}

/// What the records build; the model of the state columns.
#[derive(Clone, Debug, Default, PartialEq)]
struct Table(BTreeMap<(u8, u8), u64>);

impl Table {
    fn of(records: &[Cell]) -> Self {
        let mut table = Self::default();
        table.apply(records);
        table
    }

    fn apply(&mut self, records: &[Cell]) {
        for record in records {
            match *record {
                Cell::Set { row, column, value } => {
                    self.0.insert((row, column), value);
                }
                Cell::Clear { row, column } => {
                    self.0.remove(&(row, column));
                }
                Cell::ClearRow { row } => self.0.retain(|(r, _), _| *r != row),
            }
        }
    }
}

fn below(draw: &mut Draw, limit: u64) -> u64 {
    draw.next_u64() % limit
}

fn byte(draw: &mut Draw, choices: &[u8]) -> u8 {
    choices[usize::try_from(below(draw, choices.len() as u64)).unwrap()]
}

/// A few records; row 255 has the prefix whose successor carries into the shard.
fn some_records(draw: &mut Draw) -> Vec<Cell> {
    let count = 1 + below(draw, 3);
    let mut record = || {
        let (row, column) = (byte(draw, &[0, 1, 2, 254, 255]), byte(draw, &[0, 1, 2, 255]));
        match below(draw, 10) {
            0..7 => Cell::Set { row, column, value: draw.next_u64() },
            7..9 => Cell::Clear { row, column },
            _ => Cell::ClearRow { row },
        }
    };
    (0..count).map(|_| record()).collect()
}

fn draw(seed: u64) -> Draw {
    Draw::new(u128::from(seed))
}

/// Small limits, so that truncation and split applies happen all the time.
fn small() -> ReplicaOptions {
    ReplicaOptions { log_window_entries: 20, log_window_bytes: 2_000, max_apply_bytes: 60, ..ReplicaOptions::default() }
}

fn open<S: LogStore>(store: S) -> (Replica<S, Cell>, Vec<Cell>) {
    let replica = Replica::open(store, small()).unwrap();
    let state = state_of(&replica);
    (replica, state)
}

fn state_of<S: LogStore, R: StateRecord>(replica: &Replica<S, R>) -> Vec<R> {
    let mut state = Vec::new();
    replica.load(|record| state.push(record)).unwrap();
    state
}
