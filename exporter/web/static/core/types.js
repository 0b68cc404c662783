/**
 * The shapes of what the sidecar sends; docs/http.md describes them.
 *
 * @typedef {object} Feed
 * @property {string} name
 * @property {string | null} state
 * @property {string[]} reasons
 * @property {string | null} scope
 * @property {number | null} state_since_ms
 * @property {number} batches
 * @property {number} messages
 * @property {number | null} batch_size
 * @property {number | null} unique_symbols
 * @property {number | null} efficiency
 * @property {number} symbols
 * @property {number | null} symbols_active
 * @property {number | null} symbols_expected
 * @property {number | null} last_batch_ms
 * @property {number | null} last_received_ms
 * @property {number | null} silent_limit_seconds
 * @property {number} anomalies
 * @property {number | null} batches_per_second
 * @property {number | null} messages_per_second
 * @property {number | null} latency_ms
 *
 * @typedef {{ok: boolean, reasons: string[], warnings: string[]}} Status
 * @typedef {{p50_ms?: number | null, p90_ms?: number | null, p99_ms?: number | null, count?: number}} Latency
 * @typedef {[topic: string, partition: number, position: number, end: number | null, lag: number | null, last_record_ms: number | null]} PartitionRow
 * @typedef {{topic: string, partition: number, offset: number, time_ms: number, count: number}} Place
 * @typedef {Place & {reason: string, detail: string, feed: string | null}} Rejection
 * @typedef {Place & {feed?: string, kind: string, meaning?: string}} Anomaly
 * @typedef {{
 *   instance: string, version: string, started_ms: number, history_seconds: number, history_step_seconds: number,
 *   telemetry_path: string, shares: boolean, views: string[], takes_pushes: boolean,
 * }} SidecarInfo
 *
 * @typedef {{correlation_id: string, since_ms: number, data_count: number, is_overdue: boolean}} OpenRound
 * @typedef {{
 *   name: string, state: string, reason: string, last_event_ms: number | null, clock_offset_ms: number | null,
 *   begun: number, completed: number, mismatched: number, overdue: number, unpaired: number, open: number,
 *   open_rounds: OpenRound[], usual_ms: number | null, limit_ms: number, last_duration_ms: number | null,
 * }} IngestionSource
 * @typedef {[currency: string, updated_ms: number]} RateRow
 *
 * @typedef {object} Sections
 * @property {SidecarInfo} sidecar
 * @property {Status} ready
 * @property {Status} healthy
 * @property {Record<string, number>} states
 * @property {{
 *   feeds: number, batches: number, messages: number, symbols: number, rejected: number, anomalies: number,
 *   batches_per_second: number | null, messages_per_second: number | null,
 * }} totals
 * @property {Record<string, number | null>} loop
 * @property {Record<string, Latency>} latencies
 * @property {{
 *   events: number, bytes: number, age_seconds: number, events_limit: number, bytes_limit: number,
 *   age_limit_seconds: number, ratio: number, error: string,
 * }} backlog
 * @property {{records: number, partitions: number, unknown: number, rows: PartitionRow[]}} lag
 * @property {Rejection[]} rejections
 * @property {Anomaly[]} anomalies
 * @property {{sources: IngestionSource[], rates: RateRow[], rate_limit_ms: number}} ingestion - absent when events are not read
 *
 * @typedef {Partial<Sections> & {
 *   now_ms: number, tick_seconds: number, start?: string, columns?: string[], feeds?: unknown[][], removed?: string[],
 *   sampled_ms?: number, program_columns?: string[], programs?: unknown[][], programs_removed?: string[],
 * }} Message
 *
 * @typedef {{id: string, topic: string, time: string, value: Record<string, unknown>}} PublishedEvent
 * @typedef {{type: string, missed: number, events: PublishedEvent[]}} Published
 *
 * @typedef {(number | null)[]} Numbers
 * @typedef {{
 *   batches_per_second: Numbers, messages_per_second: Numbers, latency_ms: Numbers, age_seconds: Numbers,
 *   state: (string | null)[],
 * }} FeedHistory
 * @typedef {Partial<{
 *   batches_per_second: Numbers, messages_per_second: Numbers, latency_p50_ms: Numbers, latency_p99_ms: Numbers,
 *   lag_records: Numbers, backlog_ratio: Numbers, cpu_cores: Numbers,
 * }>} TotalsHistory - what has never been sampled is absent
 * @typedef {{times_ms: number[], step_seconds: number, totals: TotalsHistory, feeds: Record<string, FeedHistory>}} HistoryData
 *
 * @typedef {{
 *   name: string, help: string, unit: string, labels: Record<string, string>, bounds: number[], counts: number[],
 *   sum: number, count: number, p50: number | null, p90: number | null, p99: number | null,
 * }} Histogram
 * @typedef {{name: string, kind: string, help: string, unit: string, labels: Record<string, string>, value: number}} Figure
 * @typedef {{
 *   limit_seconds: number | null, origin: string, factor: number, minimum_seconds: number, maximum_seconds: number,
 *   interval_seconds: number | null, usual_seconds: number | null, intervals: number, observed_seconds: number,
 *   needed_intervals: number, needed_seconds: number, is_doubled: boolean,
 * }} Threshold
 * @typedef {{state: string, since_ms: number, until_ms: number | null, scope: string, reasons: string[]}} Transition
 *
 * @typedef {object} FeedDetail
 * @property {string} name
 * @property {string[]} partitions
 * @property {boolean} is_expected
 * @property {string | null} planned
 * @property {Transition[]} transitions
 * @property {{
 *   silent: Threshold, frozen: Threshold, delayed: {limit_seconds: number | null, pace_seconds: number | null},
 *   partial: {coverage: number, active: number | null, expected: number | null},
 * } | null} thresholds
 * @property {Record<string, number | null>} symbols
 * @property {Anomaly[]} anomalies
 * @property {Rejection[]} rejections
 * @property {Histogram[]} histograms
 * @property {Figure[]} figures
 *
 * @typedef {{symbol: string, messages?: number, last_seen_ms?: number, status?: string}} SymbolRow
 *
 * @typedef {object} Program
 * @property {string} id - what follows `/programs/` in the address of its view
 * @property {string} name
 * @property {Record<string, string>} labels
 * @property {number | null} pushed_ms
 * @property {number | null} failed_ms
 * @property {number | null} expires_ms
 * @property {string | null} bottleneck
 * @property {number} over
 * @property {number} under
 * @property {number} alerts
 * @property {number} breakers_open
 * @property {number | null} latency_seconds
 * @property {number | null} cpu_ratio
 * @property {number | null} memory_bytes
 * @property {number | null} memory_limit_bytes
 * @property {number} series
 *
 * @typedef {{
 *   stage: string, count: number | null, p50_seconds: number | null, p95_seconds: number | null,
 *   p99_seconds: number | null, threshold_seconds: number | null, share: number | null, history: Numbers,
 * }} Stage
 * @typedef {{
 *   operation: string, items: number | null, items_per_second: number | null, is_busy: boolean, target: number | null,
 *   batch_size: number | null, workers: number | null, history: Numbers,
 * }} Operation
 * @typedef {{tier: string, hit: number, negative: number, miss: number, error: number, hit_rate: number | null}} Tier
 * @typedef {{
 *   cache: string, entries: number | null, capacity: number | null, requests: number | null, hit_rate: number | null,
 *   load_p95_seconds: number | null, tiers: Tier[], history: Numbers,
 * }} Cache
 * @typedef {{
 *   bus: string, handler: string, queue_length: number | null, queue_capacity: number | null, p95_seconds: number | null,
 *   handled: number, failed: number, timed_out: number, dropped: number, retried: number,
 *   dropped_by_reason: Record<string, number>, is_dropping: boolean,
 * }} Handler
 * @typedef {{breaker: string, state: string, opened: number | null}} Breaker
 * @typedef {{alert: string, subject: string}} Alert
 * @typedef {object} ProgramDetail
 * @property {number[]} times_ms
 * @property {Stage[]} stages
 * @property {Operation[]} operations
 * @property {Cache[]} caches
 * @property {Handler[]} handlers
 * @property {Breaker[]} breakers
 * @property {{operation: string, retried?: number, succeeded?: number, gave_up?: number}[]} retries
 * @property {{operation: string, engine: string, items: number | null, p95_seconds: number | null}[]} compute
 * @property {Record<string, number | null>} process
 * @property {Alert[]} alerts
 * @property {Figure[]} metrics
 * @property {Record<string, Numbers>} history
 *
 * @typedef {{all: boolean, feeds: Set<string>, programs: Set<string>, turned: Feed[], sampled: boolean}} Changes
 *   `all`: everything is new, after a start or a reconnect; `turned`: feeds whose state is another one
 */
/** @typedef {{value: number | null, reason?: string}} RiskFigure - a null has its reason */
/**
 * @typedef {object} RiskPortfolio
 * @property {string} portfolio
 * @property {boolean} is_here - all its prices are read by this sidecar
 * @property {Record<string, RiskFigure>} figures
 * @property {{method: string, confidence: number, var: RiskFigure, cvar: RiskFigure}[]} tails
 * @property {{scenario: string, loss: RiskFigure, value: RiskFigure, leverage: RiskFigure, cvar: RiskFigure}[]} scenarios
 * @property {{limit: string, symbol: string}[]} breaches
 * @property {{tripped: string[], since_ms: number | null}} safety
 * @property {{is_in_force: boolean, number: number, reasons: string[]}} emergency_stop
 */
/** @typedef {{symbol: string, price: RiskFigure, unconfirmed: {price: number, since_ms: number} | null}} RiskSymbol */
/** @typedef {{time_ms: number | null, errors: Record<string, string>, portfolios: RiskPortfolio[], symbols: RiskSymbol[]}} Risk */

export {};
