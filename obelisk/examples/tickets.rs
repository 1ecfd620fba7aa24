//! Ticket numbers from several threads, over two runs of a program: every number once, none out of order in a thread.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::thread;

use obelisk::{CounterError, ObeliskSequencer, PersistentAtomic};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("tickets");
    let mut tickets = one_run(&path)?;
    tickets.append(&mut one_run(&path)?);
    println!("{} tickets, the last one is {:?}", tickets.len(), tickets.last());
    assert_eq!(tickets.len(), 2 * 4 * 1_000);
    Ok(())
}

fn one_run(path: &Path) -> Result<BTreeSet<u64>, Box<dyn Error>> {
    let counter = ObeliskSequencer::open(path)?;
    let draw = || (0..1_000).map(|_| counter.fetch_add(1)).collect::<Result<Vec<_>, CounterError>>();
    let drawn = thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(draw));
        threads.map(|thread| thread.join().expect("no thread panics"))
    });
    let mut tickets = BTreeSet::new();
    for mine in drawn {
        let mine = mine?;
        assert!(mine.is_sorted());
        tickets.extend(mine);
    }
    counter.close()?;
    Ok(tickets)
}

#[test]
fn runs() {
    main().unwrap();
}
