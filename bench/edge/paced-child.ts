// Load at a fixed rate, whatever comes back: requests have their time, and one that has to wait for a free connection has waited. So a
// proxy that stands still for a moment is seen with all that it kept waiting. Prints the latencies' quantiles as JSON.
// Words: port, path, requests per second, seconds, connections, header lines as JSON.

import net from 'node:net';
import { systemClock } from '../../src/lib/clock.ts';
import { quantile } from '../report.ts';

const [port = '', path = '', perSecond = '', seconds = '', connections = '', headers = '[]'] = process.argv.slice(2);
const lines: unknown = JSON.parse(headers);
const request = Buffer.from(
  [`GET ${path} HTTP/1.1`, 'Host: localhost', ...(Array.isArray(lines) ? lines.map(String) : []), '', ''].join('\r\n'),
);
const END = Buffer.from('\r\n\r\n');
const STEP_MS = 0.2;

interface Connection {
  readonly socket: net.Socket;
  /** When what is under way was due; null: nothing is. */
  dueMs: number | null;
  pending: Buffer;
}

const latencies: number[] = [];
let failed = 0;
const free: Connection[] = [];
const waiting: number[] = [];

function send(connection: Connection, dueMs: number): void {
  connection.dueMs = dueMs;
  connection.socket.write(request);
}

function onData(connection: Connection, piece: Buffer): void {
  connection.pending = connection.pending.length === 0 ? piece : Buffer.concat([connection.pending, piece]);
  const head = connection.pending.indexOf(END);
  if (head === -1) return;
  const text = connection.pending.toString('latin1', 0, head);
  const length = Number(/content-length: (\d+)/iu.exec(text)?.[1] ?? Number.NaN);
  if (Number.isNaN(length)) throw new Error(`an answer without a length: ${text}`);
  if (connection.pending.length < head + END.length + length) return;
  connection.pending = connection.pending.subarray(head + END.length + length);
  const now = systemClock.monotonic();
  if (!text.startsWith('HTTP/1.1 200')) failed += 1;
  if (connection.dueMs !== null) latencies.push(now - connection.dueMs);
  connection.dueMs = null;
  const next = waiting.shift();
  if (next === undefined) free.push(connection);
  else send(connection, next);
}

for (let index = 0; index < Number(connections); index += 1) {
  const socket = net.connect({ host: '127.0.0.1', port: Number(port), noDelay: true });
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  const connection: Connection = { socket, dueMs: null, pending: Buffer.alloc(0) };
  socket.on('data', (piece: Buffer) => onData(connection, piece));
  socket.on('error', (error) => {
    throw error;
  });
  free.push(connection);
}

const beganMs = systemClock.monotonic();
const total = Number(perSecond) * Number(seconds);
let sent = 0;
while (sent < total) {
  const now = systemClock.monotonic();
  const due = Math.min(total, Math.floor(((now - beganMs) * Number(perSecond)) / 1000));
  for (; sent < due; sent += 1) {
    const dueMs = beganMs + (sent * 1000) / Number(perSecond);
    const connection = free.shift();
    if (connection === undefined) waiting.push(dueMs);
    else send(connection, dueMs);
  }
  // A timer is no finer than a millisecond: between requests answers are looked for.
  if (systemClock.monotonic() - now < STEP_MS) await new Promise((resolve) => setImmediate(resolve));
}
while (latencies.length < total) await new Promise((resolve) => setImmediate(resolve));
process.stdout.write(
  JSON.stringify({ p50Ms: quantile(latencies, 0.5), p99Ms: quantile(latencies, 0.99), failed, requests: latencies.length }),
  () => process.exit(0),
);
