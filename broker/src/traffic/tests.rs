use super::*;

/// Lets a connection move wherever it belongs after each of these; gives where it was after each.
fn walk(steps: impl IntoIterator<Item = fn(&mut Traffic)>) -> Vec<Threads> {
    let mut traffic = Traffic::default();
    let mut seen = Vec::new();
    for step in steps {
        step(&mut traffic);
        let to = traffic.belongs_to();
        if to != traffic.at() {
            traffic.moves_to(to);
        }
        seen.push(to);
    }
    seen
}

fn large_request(traffic: &mut Traffic) {
    traffic.asked(64 << 10, true);
    traffic.answered(60);
}

fn small_request(traffic: &mut Traffic) {
    traffic.asked(200, true);
    traffic.answered(60);
}

fn backlog(traffic: &mut Traffic) {
    traffic.asked(100, false);
    traffic.answered(1 << 20);
}

fn tail(traffic: &mut Traffic) {
    traffic.asked(100, false);
    traffic.answered(500);
}

fn times(count: usize, step: fn(&mut Traffic)) -> impl Iterator<Item = fn(&mut Traffic)> {
    std::iter::repeat_n(step, count)
}

fn moves(seen: &[Threads]) -> Vec<Threads> {
    let mut moves = seen.to_vec();
    moves.dedup();
    moves
}

#[test]
fn a_writer_of_large_requests_moves_once_and_comes_back_when_they_are_small() {
    let seen = walk(times(200, large_request).chain(times(15, small_request)).chain(times(1, large_request)));
    assert_eq!(moves(&seen), [Threads::Shared, Threads::Writers]);
    let seen = walk(times(200, large_request).chain(times(200, small_request)));
    assert_eq!(moves(&seen), [Threads::Shared, Threads::Writers, Threads::Shared]);
}

#[test]
fn a_reader_of_a_backlog_moves_and_comes_back_when_it_has_caught_up() {
    let seen = walk(times(100, backlog).chain(times(100, tail)).chain(times(100, backlog)));
    assert_eq!(moves(&seen), [Threads::Shared, Threads::Readers, Threads::Shared, Threads::Readers]);
    assert_eq!(seen.iter().position(|at| *at == Threads::Readers), Some(7));
    assert_eq!(seen.iter().skip(8).position(|at| *at == Threads::Shared), Some(92 + 15));
}

#[test]
fn who_does_this_and_that_stays_where_all_begin() {
    let mixed: [fn(&mut Traffic); 4] = [large_request, small_request, backlog, tail];
    let seen = walk(mixed.into_iter().cycle().take(4_000));
    assert_eq!(moves(&seen), [Threads::Shared]);
    let seen = walk(times(7, backlog).chain(times(1, tail)).chain(times(7, backlog)).chain(times(31, large_request)));
    assert_eq!(moves(&seen), [Threads::Shared]);
}

#[test]
fn from_one_lane_to_the_other_by_way_of_the_shared_threads() {
    let seen = walk(times(40, large_request).chain(times(40, backlog)).chain(times(100, large_request)));
    let expected =
        [Threads::Shared, Threads::Writers, Threads::Shared, Threads::Readers, Threads::Shared, Threads::Writers];
    assert_eq!(moves(&seen), expected);
}
