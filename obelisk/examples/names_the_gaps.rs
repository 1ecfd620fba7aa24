//! A bitmap counter that knows which values are in use: a batch of ids is reserved and only partly used before the next
//! session; what that one skips by its floor is told apart from what was handed out.

use std::error::Error;

use obelisk::{BitmapMmap, Options, PersistentAtomic};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("invoices");
    let invoices = BitmapMmap::open(&path, 100_000)?;
    assert_eq!(invoices.reserve(3)?, 0..3);
    invoices.close()?;

    // A table elsewhere says that ids up to 9 are in use.
    let invoices = BitmapMmap::open_with(&path, 100_000, &Options::new().floor(10))?;
    assert_eq!(invoices.fetch_add(1)?, 10);
    let never: Vec<u64> = (0..11).filter(|value| !invoices.handed_out(*value)).collect();
    println!("never handed out: {never:?}");
    assert_eq!(never, [3, 4, 5, 6, 7, 8, 9]);
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
