/** The worker that the tabs of a browser share: a hub for all of them. */

import { Hub } from "./hub.js";

const hub = new Hub();
addEventListener("connect", (event) => hub.add(/** @type {MessageEvent} */ (event).ports[0]));
