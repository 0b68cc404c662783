"""Failures of hours, played in seconds: the product as `exporter.app` wires it, with broker, time and thread in memory.

Each wiring below was broken once on purpose; the scenario after it is the first that failed for it.

- evaluator: reachability: while_the_broker_is_away_nothing_is_known_of_collectors
- evaluator: sole reader: an_expected_feed_that_never_sends (never), an_expected_feed_may_be_on_a_partition (always),
  an_expected_feed_whose_invalid_records_ended_here
- evaluator: rejected traffic of topics, blame of feeds: a_collector_that_changes_its_format_is_named
- evaluator: progress by partition, end offsets, stalls: a_partition_that_is_stuck_is_no_state_of_feeds_on_others
- evaluator: catching up: a_successor_of_a_sidecar_that_died, a_feed_whose_records_wait_behind_those_of_another
- evaluator: grace after a pause: a_sidecar_that_did_not_run_for_a_while_listens
- evaluator: scope of silence: all_feeds_of_one_topic; rejections are none: another_feed_whose_records_are_all
- evaluator: comparison: prices_of_feeds_that_are_ok_are_compared; warnings: much_that_is_rejected_is_a_warning
- health: calendar: a_market_that_closes; thresholds: thresholds_of_the_configuration
- health: price changes, batches: an_exchange_that_freezes; symbols: half_the_symbols_are_missed
- health: learning stops in an outage: a_lasting_new_rhythm_is_learned; replayed messages: a_replay_beside_what_is_new
- health: prices that moved elsewhere: prices_that_moved_while_another_sidecar_read_them
- pipeline: age of live data: records_with_stamps_far_beyond_the_live_age, a_clock_that_jumps (slightly old at the end)
- partitions: behind: a_sidecar_that_catches_up_slowly (never), all_feeds_of_one_topic (always)
- pipeline: published records: records_that_a_predecessor_published; redelivered ones: reading_all_again
- pipeline: old rejections: what_was_rejected_long_ago; valid batches of a topic: records_of_another_feed_that_were
- pipeline: tail, release: a_partition_that_moves_raises_no_alarm
- pipeline: summaries, recovered records, revocation: a_partition_that_moves_to_and_fro
- loop: pause and resumption at a full backlog, summaries: a_backlog_that_stays_full
- loop: ends behind transaction markers: the_marker_behind_the_last_record; events: much_that_is_rejected
- app: filter: feeds_that_are_excluded; expected feeds: an_expected_feed_that_never_sends

No scenario notices when the health of a released feed is not ended, or that of a new one not begun: the evaluator does
both again. Nor when rests of prices are learned while a feed is frozen: see `tests/test_freshness.py`.
"""
