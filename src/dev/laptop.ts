// The laptop's side of a session: one connection to the platform, made anew whenever it is lost, over which streams come in that are
// joined to the developer's program. The session and its URLs stay the same whatever happens to the connection.

import net from 'node:net';
import type { Socket } from 'node:net';
import { backoffMs } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { isFailure, messageOf } from '../lib/failure.ts';
import { systemRandom } from '../lib/id.ts';
import { GREETING } from '../tunnel/greeted.ts';
import { REQUEST_STREAM } from '../tunnel/mux-frames.ts';
import { joinSocket } from '../tunnel/mux-join.ts';
import { createMux } from '../tunnel/mux.ts';
import type { Mux } from '../tunnel/mux.ts';
import type { MuxStream, StreamObserver } from '../tunnel/mux-stream.ts';
import { dialGateway } from './dial-gateway.ts';
import type { GatewayAddress } from './dial-gateway.ts';
import type { Forwarder } from './forwarder.ts';

export interface LaptopOptions {
  readonly gateway: GatewayAddress;
  /** Of the developer's program, on loopback. */
  readonly port: number;
  readonly clock: Clock;
  /** Takes what the program calls; absent: nothing does. */
  readonly forwarder?: Pick<Forwarder, 'use'>;
  /** Ends it. */
  readonly signal: AbortSignal;
  readonly onConnected: (again: boolean) => void;
  /** Once for each time that it is lost, however often it is tried anew. */
  readonly onLost: (why: string) => void;
}

const RECONNECT = { minMs: 50, maxMs: 2_000 } as const;
/** What was said last has so long to leave. */
const CLOSE_MS = 500;
const CLOSE_TICK_MS = 5;
/** An Edge may not have heard of the session yet, or may have begun just now. */
const UNKNOWN_MS = 3_000;

/** Resolves when it was told to end. Rejects with `unauthenticated` when the session has ended. */
export async function runLaptop(options: LaptopOptions): Promise<void> {
  const { clock, signal } = options;
  let failures = 0;
  let wasConnected = false;
  let isConnected = false;
  let unknownSinceMs: number | null = null;
  const muxes = new Set<Mux>();
  const sockets = new Set<Socket>();
  const lost = (why: string): void => {
    if (isConnected || (!wasConnected && failures === 0)) options.onLost(why);
    isConnected = false;
  };
  try {
    while (!signal.aborted) {
      try {
        const socket = await dialGateway(options.gateway, { clock, signal });
        unknownSinceMs = null;
        failures = 0;
        const carried = carry(socket, options, { muxes, sockets });
        options.onConnected(wasConnected);
        wasConnected = true;
        isConnected = true;
        const why = await carried;
        // Asked to go elsewhere: what is under way here goes on meanwhile.
        if (why !== null && !signal.aborted) lost(why);
      } catch (error) {
        if (signal.aborted) return;
        if (isFailure(error, 'unauthenticated')) {
          unknownSinceMs ??= clock.monotonic();
          if (clock.monotonic() - unknownSinceMs >= UNKNOWN_MS) throw error;
        } else unknownSinceMs = null;
        lost(messageOf(error));
        failures += 1;
      }
      // A random part, so that those that an Edge has lost do not all come back in the same moment.
      await clock.sleep(failures === 0 ? RECONNECT.minMs : backoffMs(failures - 1, RECONNECT, systemRandom), signal).catch(() => undefined);
    }
  } finally {
    for (const mux of muxes) mux.close();
    await closed(sockets, clock);
  }
}

/** What is there while the laptop runs. */
interface Open {
  readonly muxes: Set<Mux>;
  readonly sockets: Set<Socket>;
}

function keep(socket: Socket, sockets: Set<Socket>): void {
  sockets.add(socket);
  socket.once('close', () => sockets.delete(socket));
}

/** None is left open: a process that ends with one that nobody reads may not end at all. */
async function closed(sockets: ReadonlySet<Socket>, clock: Clock): Promise<void> {
  const untilMs = clock.monotonic() + CLOSE_MS;
  while (sockets.size > 0 && clock.monotonic() < untilMs) await clock.sleep(CLOSE_TICK_MS);
  for (const socket of sockets) socket.destroy();
  while (sockets.size > 0 && clock.monotonic() < untilMs + CLOSE_MS) await clock.sleep(CLOSE_TICK_MS);
}

/** Resolves when another connection is wanted: why this one is lost, or null where it goes on for a while. */
function carry(socket: Socket, options: LaptopOptions, { muxes, sockets }: Open): Promise<string | null> {
  keep(socket, sockets);
  const { clock, signal } = options;
  return new Promise((resolve) => {
    const mux = createMux({
      odd: true,
      clock,
      carrier: { write: (bytes) => socket.write(bytes), close: () => socket.destroySoon() },
      onOpen: (stream) => (stream.kind === REQUEST_STREAM ? toProgram(stream, options, sockets) : null),
      onGoAway: () => resolve(null),
      onClosed: (why) => {
        signal.removeEventListener('abort', end);
        muxes.delete(mux);
        // A newer one may be in use by now.
        options.forwarder?.use([...muxes].at(-1) ?? null);
        resolve(why ?? 'it was closed here');
      },
    });
    const end = (): void => mux.close();
    muxes.add(mux);
    options.forwarder?.use(mux);
    signal.addEventListener('abort', end, { once: true });
    socket.on('data', (bytes: Buffer) => mux.push(bytes));
    socket.on('drain', () => mux.drained());
    socket.on('error', (error) => mux.lost(error.message));
    socket.on('close', () => mux.lost('the connection was closed'));
    if (signal.aborted) end();
  });
}

/** Programs listen on either, and those that say `localhost` on whichever their system names first. */
const LOOPBACKS = ['127.0.0.1', '::1'] as const;

/** Joined as soon as it takes the connection; until then nothing of a request is on its way. */
function toProgram(stream: MuxStream, { port, clock }: LaptopOptions, sockets: Set<Socket>): StreamObserver {
  const connect = (index: number): void => {
    const host = LOOPBACKS[index];
    if (host === undefined) return stream.reset('the program takes no connection');
    const socket = net.connect({ host, port, allowHalfOpen: true });
    keep(socket, sockets);
    const onError = (): void => {
      socket.destroy();
      connect(index + 1);
    };
    socket.once('error', onError);
    socket.once('connect', () => {
      socket.off('error', onError);
      if (stream.over) return void socket.destroy();
      stream.observer = joinSocket(stream, socket, clock);
      stream.write(Buffer.from(`${GREETING}\n`));
    });
  };
  connect(0);
  // Whoever has asked says nothing before it is greeted.
  return { onData: (bytes) => stream.consumed(bytes.length), onEnd: () => undefined, onReset: () => undefined, onDrain: () => undefined };
}
