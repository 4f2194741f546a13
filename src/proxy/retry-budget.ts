// How many retries a group of targets may get: a share of its latest requests and a small floor, so that retries cannot multiply the
// load of targets that are failing under load. The idea is that of Finagle's RetryBudget (a percentage of the requests of the last ten
// seconds and a minimum per second) and of the retry budgets of Envoy's circuit breakers.

const BUCKET_MS = 1_000;
const BUCKETS = 10;
/** Retries that even a group with hardly any requests gets, per second. */
const FLOOR_PER_SECOND = 10;

export class RetryBudget {
  /** Retries as a percentage of requests. */
  percent: number;
  /** Made with the first request: most groups of a large table have none. */
  #requests: Float64Array | null = null;
  #retries: Float64Array | null = null;
  #requestSum = 0;
  #retrySum = 0;
  /** Number of the bucket that is being filled. */
  #current = 0;

  constructor(percent: number) {
    this.percent = percent;
  }

  onRequest(nowMs: number): void {
    this.#advance(nowMs);
    this.#requests ??= new Float64Array(BUCKETS);
    addTo(this.#requests, this.#current, 1);
    this.#requestSum += 1;
  }

  /** Whether one more retry is paid for; it is then counted. */
  mayRetry(nowMs: number): boolean {
    this.#advance(nowMs);
    const allowed = FLOOR_PER_SECOND * BUCKETS + (this.#requestSum * this.percent) / 100;
    if (this.#retrySum + 1 > allowed) return false;
    this.#retries ??= new Float64Array(BUCKETS);
    addTo(this.#retries, this.#current, 1);
    this.#retrySum += 1;
    return true;
  }

  /** The retry that was just paid for did not come about. */
  giveBack(): void {
    if (this.#retries === null) return;
    addTo(this.#retries, this.#current, -1);
    this.#retrySum -= 1;
  }

  #advance(nowMs: number): void {
    const bucket = Math.floor(nowMs / BUCKET_MS);
    if (bucket <= this.#current) return;
    const passed = Math.min(bucket - this.#current, BUCKETS);
    for (let step = 1; step <= passed; step += 1) {
      const at = (this.#current + step) % BUCKETS;
      this.#requestSum -= take(this.#requests, at);
      this.#retrySum -= take(this.#retries, at);
    }
    this.#current = bucket;
  }
}

function addTo(buckets: Float64Array, bucket: number, count: number): void {
  const at = bucket % BUCKETS;
  buckets[at] = (buckets[at] ?? 0) + count;
}

/** What a bucket held, which is then empty. */
function take(buckets: Float64Array | null, at: number): number {
  if (buckets === null) return 0;
  const held = buckets[at] ?? 0;
  buckets[at] = 0;
  return held;
}
