//! The rules that every store keeps. A new store is one more `@over` line and one more function of `Fixture`.

mod concurrency;
mod feed;
mod owners;
mod random;
mod writes;

macro_rules! contract {
    ($($group:ident { $($case:ident),* $(,)? })*) => {
        contract!(@over memory; $($group { $($case)* })*);
        contract!(@over sqlite; $($group { $($case)* })*);
    };
    (@over $store:ident; $($group:ident { $($case:ident)* })*) => {
        mod $store {
            $(mod $group {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::contract::$group::$case(crate::fixture::Fixture::$store().await).await;
                })*
            })*
        }
    };
}

contract! {
    writes {
        create_sets_versions_and_times_and_ignores_a_given_status,
        create_of_an_existing_resource_fails,
        update_bumps_the_spec_version_and_the_modification_time,
        update_delete_and_status_of_a_missing_resource_fail,
        stale_versions_conflict,
        equal_writes_change_nothing,
        spec_and_status_do_not_touch_each_other,
        upsert_creates_then_updates,
        remove_of_a_missing_resource_does_nothing,
        a_transaction_is_all_or_nothing,
        later_writes_of_a_transaction_see_earlier_ones,
        what_comes_and_goes_in_a_transaction_is_no_change,
        lists_are_ordered_and_filtered,
        a_snapshot_never_changes,
    }
    owners {
        a_missing_owner_is_refused,
        the_owner_may_come_from_the_same_transaction,
        deletion_cascades_to_all_that_is_owned,
        the_owner_is_fixed_at_creation,
        a_new_resource_of_the_same_name_owns_nothing,
    }
    feed {
        starts_with_a_snapshot_and_goes_on_in_order,
        says_what_was_before_and_after,
        is_silent_about_writes_that_change_nothing_or_fail,
        folds_for_a_subscriber_that_falls_behind,
        ends_when_the_store_is_gone,
        subscribers_that_join_amid_writes_miss_nothing,
    }
    concurrency {
        of_many_creators_one_wins,
        no_update_is_lost,
        failing_transactions_do_not_hurt_their_neighbours,
    }
}
