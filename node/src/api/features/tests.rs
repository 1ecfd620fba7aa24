use super::*;

fn update(name: &str, level: i16, upgrade_type: i8) -> FeatureUpdateKey {
    let key = FeatureUpdateKey::default().with_feature(StrBytes::from(name.to_owned()));
    key.with_max_version_level(level).with_upgrade_type(upgrade_type)
}

/// Code at the top and number of results.
fn ask(version: i16, updates: &[FeatureUpdateKey]) -> (i16, usize) {
    let answer = update_features(version, &UpdateFeaturesRequest::default().with_feature_updates(updates.to_vec()));
    assert_eq!(answer.error_code == 0, answer.error_message.is_none());
    assert!(answer.results.iter().all(|result| result.error_code == 0));
    (answer.error_code, answer.results.len())
}

#[test]
fn a14_unknown_features_and_levels_are_refused_in_every_version() {
    for version in 0..=2 {
        for (name, level) in [("", 1), ("no.such", 0), ("no.such", 1), ("no.such", -1)] {
            assert_eq!(ask(version, &[update(name, level, 1)]), (95, 0), "v{version} {name} {level}");
        }
        for level in [-1, 0, 6, 7, 29, 31, i16::MAX] {
            for upgrade_type in 1..=3 {
                assert_eq!(ask(version, &[update("metadata.version", level, upgrade_type)]), (95, 0));
            }
        }
    }
}

#[test]
fn a14_the_level_in_force_and_nothing_at_all_are_fine() {
    for version in 0..=2 {
        let results = |n| if version < 2 { n } else { 0 };
        assert_eq!(ask(version, &[update("metadata.version", 30, 1)]), (0, results(1)));
        assert_eq!(ask(version, &[update("group.version", 1, 1)]), (0, results(1)));
        assert_eq!(ask(version, &[update("group.version", 0, 2)]), (95, 0));
        assert_eq!(ask(version, &[]), (0, 0));
    }
}

#[test]
fn a14_one_refusal_refuses_all() {
    for version in 0..=2 {
        assert_eq!(ask(version, &[update("metadata.version", 30, 1), update("no.such", 1, 1)]), (95, 0));
    }
}

#[test]
fn a14_upgrade_types_exist_from_v1_on() {
    assert_eq!(ask(0, &[update("metadata.version", 30, 9)]).0, 0);
    for version in 1..=2 {
        for upgrade_type in [0, 4, -1] {
            assert_eq!(ask(version, &[update("metadata.version", 30, upgrade_type)]), (95, 0));
        }
    }
}
