/** All that is known of the sidecar, as of its last message. */

/** @typedef {import("./types.js").Feed} Feed */
/** @typedef {import("./types.js").Program} Program */
/** @typedef {import("./types.js").Sections} Sections */
/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./types.js").Changes} Changes */

/** What a message has besides the sections, which replace the previous ones whole. */
const OTHERS = new Set([
  ...["now_ms", "tick_seconds", "start", "columns", "feeds", "removed", "sampled_ms"],
  ...["program_columns", "programs", "programs_removed"],
]);

export class State {
  constructor() {
    /** @type {Map<string, Feed>} */
    this.feeds = new Map();
    /** @type {Partial<Sections>} */
    this.sections = {};
    /** @type {string[]} */
    this.columns = [];
    /** @type {Map<string, Program>} */
    this.programs = new Map();
    /** @type {string[]} */
    this.programColumns = [];
    this.figuresMs = 0;
    this.offsetMs = 0;
    this.isLive = false;
  }

  /** The time by the clock of the sidecar; while it does not answer, that of its last figures. */
  now() {
    return this.isLive ? Date.now() + this.offsetMs : this.figuresMs;
  }

  /**
   * Take over a message; a snapshot replaces everything.
   * @param {Message} message
   * @param {boolean} isSnapshot
   * @returns {Changes}
   */
  apply(message, isSnapshot) {
    const before = this.feeds;
    if (isSnapshot) {
      this.feeds = new Map();
      this.sections = {};
      this.programs = new Map();
    }
    this.columns = message.columns ?? this.columns;
    this.figuresMs = message.now_ms;
    this.offsetMs = message.now_ms - Date.now();
    this.isLive = true;
    for (const name of message.removed ?? []) this.feeds.delete(name);
    const programs = this.#takePrograms(message);
    const changes = { all: isSnapshot, feeds: new Set(message.removed), programs, turned: [], sampled: isSnapshot || "sampled_ms" in message };
    for (const row of message.feeds ?? []) this.#take(row, before, changes);
    const sections = Object.entries(message).filter(([name]) => !OTHERS.has(name));
    Object.assign(this.sections, Object.fromEntries(sections));
    return changes;
  }

  /**
   * Take over the programs of a message, and return the ids of those that have changed.
   * @param {Message} message
   * @returns {Set<string>}
   */
  #takePrograms({ program_columns: columns, programs = [], programs_removed: removed = [] }) {
    this.programColumns = columns ?? this.programColumns;
    for (const id of removed) this.programs.delete(id);
    for (const row of programs) {
      const program = /** @type {Program} */ (Object.fromEntries(this.programColumns.map((name, at) => [name, row[at]])));
      this.programs.set(program.id, program);
    }
    return new Set([...removed, ...programs.map((row) => String(row[this.programColumns.indexOf("id")]))]);
  }

  /**
   * Change the feed of a row in place: a second may bring a row for each of a thousand feeds.
   * @param {unknown[]} row
   * @param {Map<string, Feed>} before
   * @param {Changes} changes
   */
  #take(row, before, changes) {
    const { columns } = this;
    const name = /** @type {string} */ (row[columns.indexOf("name")]);
    const known = before.get(name);
    const state = known?.state;
    const feed = known ?? /** @type {Feed} */ ({});
    const values = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (feed));
    for (let at = 0; at < columns.length; at++) values[columns[at]] = row[at];
    if (known && feed.state !== state) changes.turned.push(feed);
    changes.feeds.add(name);
    if (this.feeds.get(name) !== feed) this.feeds.set(name, feed);
  }
}
