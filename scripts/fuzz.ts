// Fuzzes the codec of the Edge: messages of the corpus are changed, joined and cut, and inputs that reach code which none before them
// has reached are kept as seeds. It looks for crashes, hangs, growth, and readings that depend on how the bytes were cut.
// Run: npm run fuzz [-- --seconds 600] [--seed 1]

import { readFileSync, readdirSync, writeFileSync, mkdirSync } from 'node:fs';
import inspector from 'node:inspector/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createSeededRandom, newToken } from '../src/lib/id.ts';
import { cut, readPieces } from '../test/conformance/codec.ts';
import { FRAMING } from '../test/conformance/corpus-framing.ts';
import { TARGETS } from '../test/conformance/corpus-target.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const kept = join(root, 'test/conformance/corpus-fuzz');
const option = (name: string, fallback: number): number => {
  const at = process.argv.indexOf(`--${name}`);
  return at === -1 ? fallback : Number(process.argv[at + 1] ?? fallback);
};
const seconds = option('seconds', 600);
const seed = option('seed', Date.now() % 2 ** 31);
const random = createSeededRandom(seed);
const below = (limit: number): number => Math.floor(random.next() * limit);

/** One reading may take this long, whatever it is. */
const SLOW_MS = 200;
/** Coverage is asked for once per so many inputs: each asking costs as much as hundreds of readings. */
const BATCH = 200;
const MAX_INPUT = 64 * 1024;
const GROWTH_BYTES = 32 * 1024 * 1024;
/** A reading that takes this long has not come back. */
const HANG_MS = 10_000;
const MAX_KEPT = 60;
const MAX_KEPT_BYTES = 2_048;
/** Of so many inputs one is cut at every byte. */
const CUT_EVERYWHERE = 20;
const WORDS = [
  '\r\n',
  '\r',
  '\n',
  '\0',
  ':',
  ' ',
  '\t',
  ';',
  ',',
  '=',
  '"',
  '0\r\n\r\n',
  '5\r\nhello\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Content-Length: 5\r\n',
  'Connection: close\r\n',
  'Host: app.localhost\r\n',
  'GET / HTTP/1.1\r\n',
  'Upgrade: websocket\r\n',
  'Expect: 100-continue\r\n',
  '%2e',
  '%2F',
  '/../',
  '\xff',
  'HTTP/1.0',
];

mkdirSync(kept, { recursive: true });
const seeds: Buffer[] = [
  ...[...FRAMING, ...TARGETS].map((message) => Buffer.from(message.bytes, 'latin1')),
  ...readdirSync(kept).map((name) => readFileSync(join(kept, name))),
];

function mutate(): Buffer {
  const pick = (): Buffer => seeds[below(seeds.length)] ?? Buffer.alloc(0);
  let bytes = pick();
  for (let turn = 1 + below(4); turn > 0; turn -= 1) {
    const at = below(bytes.length + 1);
    const to = Math.min(bytes.length, at + below(16));
    const word = Buffer.from(WORDS[below(WORDS.length)] ?? '', 'latin1');
    switch (below(6)) {
      case 0:
        bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from([below(256)]), bytes.subarray(Math.min(bytes.length, at + 1))]);
        break;
      case 1:
        bytes = Buffer.concat([bytes.subarray(0, at), word, bytes.subarray(at)]);
        break;
      case 2:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)]);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)]);
        break;
      case 4: {
        const other = pick();
        bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(below(other.length + 1))]);
        break;
      }
      default:
        bytes = Buffer.concat([bytes, pick()]);
    }
  }
  return bytes.subarray(0, MAX_INPUT);
}

function fail(why: string, bytes: Buffer): never {
  const file = join(root, `fuzz-failure-${newToken('x').slice(2, 10)}.bin`);
  writeFileSync(file, bytes);
  console.error(`${why}\nseed ${seed}; the input is in ${file}:\n${JSON.stringify(bytes.toString('latin1').slice(0, 2_000))}`);
  process.exit(1);
}

// A reading that never ends cannot time itself: another thread looks whether the number of inputs grows, and keeps the last one.
const shared = new SharedArrayBuffer(8 + MAX_INPUT);
const beat = new Int32Array(shared, 0, 2);
const current = new Uint8Array(shared, 8);
const watchdog = new Worker(
  `const { workerData } = require('node:worker_threads');
   const { writeFileSync } = require('node:fs');
   const beat = new Int32Array(workerData.shared, 0, 2);
   let before = -1;
   setInterval(() => {
     const now = Atomics.load(beat, 0);
     if (now === before) {
       writeFileSync(workerData.file, Buffer.from(new Uint8Array(workerData.shared, 8, Atomics.load(beat, 1))));
       process._rawDebug('A reading does not end; the input is in ' + workerData.file);
       process.kill(process.pid, 'SIGKILL');
     }
     before = now;
   }, workerData.hangMs);`,
  { eval: true, workerData: { shared, file: join(root, 'fuzz-hang.bin'), hangMs: HANG_MS } },
);
watchdog.unref();

setFlagsFromString('--expose-gc');
// The function that the flag brings.
const collect = runInNewContext('gc') as () => void;
function heapBytes(): number {
  collect();
  return process.memoryUsage().heapUsed;
}

function again(bytes: Buffer): number {
  const beganMs = performance.now();
  readPieces([bytes]);
  return performance.now() - beganMs;
}

function examine(bytes: Buffer): void {
  current.set(bytes);
  Atomics.store(beat, 1, bytes.length);
  Atomics.add(beat, 0, 1);
  const everywhere = bytes.length < MAX_KEPT_BYTES && below(CUT_EVERYWHERE) === 0;
  const places = Array.from({ length: everywhere ? bytes.length : below(8) }, (_, index) => (everywhere ? index : below(bytes.length + 1)));
  const beganMs = performance.now();
  let whole;
  let pieces;
  try {
    whole = JSON.stringify(readPieces([bytes]));
    pieces = JSON.stringify(readPieces(cut(bytes, places)));
  } catch (error) {
    return fail(`The codec threw: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`, bytes);
  }
  const tookMs = performance.now() - beganMs;
  // Once may be the machine; twice is the input.
  if (tookMs > SLOW_MS && again(bytes) > SLOW_MS) fail(`Two readings took ${tookMs.toFixed(0)} ms.`, bytes);
  if (whole !== pieces) fail(`Cut at ${places.join(', ')} it is read differently:\n${whole}\n${pieces}`, bytes);
}

const session = new inspector.Session();
session.connect();
await session.post('Profiler.enable');
await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
const reached = new Set<string>();

/** Blocks of the codec that ran since the last asking. */
async function blocks(): Promise<string[]> {
  const { result } = await session.post('Profiler.takePreciseCoverage');
  const ran: string[] = [];
  for (const script of result) {
    if (!script.url.includes('/src/proxy/h1/')) continue;
    for (const { functionName, ranges } of script.functions)
      for (const range of ranges) if (range.count > 0) ran.push(`${script.url} ${functionName} ${range.startOffset}-${range.endOffset}`);
  }
  return ran;
}

/** Of those that ran, the ones that had never run. */
function fresh(ran: readonly string[]): string[] {
  return ran.filter((block) => !reached.has(block));
}

for (const bytes of seeds) examine(bytes);
for (const block of await blocks()) reached.add(block);
const given = seeds.length;
const startMs = performance.now();
let inputs = 0;
let keptNow = 0;
const baseBytes = heapBytes();
let lastSaidMs = startMs;
console.log(`${given} seeds, ${reached.size} blocks reached by them; ${seconds} s, seed ${seed}`);
while (performance.now() - startMs < seconds * 1000) {
  const batch = Array.from({ length: BATCH }, mutate);
  for (const bytes of batch) examine(bytes);
  inputs += batch.length;
  // What the codec leaves for the end of a turn has to find one.
  await new Promise((resolve) => setImmediate(resolve));
  if (fresh(await blocks()).length > 0) {
    // Somewhere in the batch: each alone, and those that do it are seeds from now on.
    for (const bytes of batch) {
      readPieces([bytes]);
      const found = fresh(await blocks());
      if (found.length === 0) continue;
      for (const block of found) reached.add(block);
      seeds.push(bytes);
      if (keptNow >= MAX_KEPT || bytes.length > MAX_KEPT_BYTES) continue;
      keptNow += 1;
      writeFileSync(join(kept, `${seed}-${keptNow}.bin`), bytes);
    }
    // What only cuts reach is found by no input alone.
    for (const bytes of batch) examine(bytes);
    for (const block of await blocks()) reached.add(block);
  }
  const nowMs = performance.now();
  if (nowMs - lastSaidMs > 10_000) {
    lastSaidMs = nowMs;
    const heapUsed = heapBytes();
    console.log(
      `${Math.round((nowMs - startMs) / 1000)} s: ${inputs} inputs, ${reached.size} blocks, ${seeds.length} seeds, heap ${Math.round(heapUsed / 2 ** 20)} MiB`,
    );
    if (heapUsed > baseBytes + GROWTH_BYTES) fail(`The heap grew from ${baseBytes} to ${heapUsed} bytes.`, Buffer.alloc(0));
  }
}
session.disconnect();
await watchdog.terminate();
console.log(
  `${inputs} inputs in ${seconds} s: no crash, no hang, no growth, no reading that depends on the cuts; ${reached.size} blocks, ${keptNow} inputs kept`,
);
