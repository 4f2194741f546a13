// Keeps the stream of desired state: a snapshot, then deltas without a gap; whatever breaks begins again with a snapshot. While control
// is away nothing changes here: all runs on.

import type { AgentMessage, DesiredInstance } from '../api/agent.ts';
import { backoffMs } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { isFailure, messageOf } from '../lib/failure.ts';
import type { Random } from '../lib/id.ts';
import type { Log } from '../sys/log.ts';
import type { AgentLink } from './link.ts';

/** Soon: when another control plane leads, machines are missed there. */
const RECONNECT = { minMs: 100, maxMs: 3_000 };
/** Silence after which a connection counts as dead; control pings every few seconds. */
const SILENCE_MS = 20_000;

export interface SyncOptions {
  readonly link: Pick<AgentLink, 'sync'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** All that this Node shall have; nothing where it is a Node no longer. */
  readonly onSnapshot: (instances: readonly DesiredInstance[]) => void;
  readonly onDelta: (put: readonly DesiredInstance[], remove: readonly string[]) => void;
  /** All machines that may reach what runs here. */
  readonly onPeers: (machines: readonly string[]) => void;
  readonly onPeersAdded: (machines: readonly string[]) => void;
  readonly onSessions: (ports: Readonly<Record<string, number>>) => void;
  readonly onCall: (message: Extract<AgentMessage, { type: 'call' }>) => void;
  /** Anything arrived from control. False: it is not to be believed; the connection is made anew. */
  readonly onContact: (isSnapshot: boolean) => boolean;
}

export interface Sync {
  stop(): Promise<void>;
}

export function startSync(options: SyncOptions): Sync {
  const { clock, log } = options;
  const stopping = new AbortController();

  let failures = 0;

  /** Follows one connection to its end. */
  const follow = async (): Promise<void> => {
    const connection = new AbortController();
    const signal = AbortSignal.any([stopping.signal, connection.signal]);
    let sequence: number | null = null;
    let cancelSilence = (): void => undefined;
    const listen = (): void => {
      cancelSilence();
      cancelSilence = clock.timer(SILENCE_MS, () => connection.abort(new Error(`nothing came for ${SILENCE_MS / 1000} s`)));
    };
    listen();
    try {
      for await (const message of options.link.sync(signal)) {
        if (signal.aborted) break;
        listen();
        // What comes before all of the desired state says nothing about it.
        if (message.type !== 'snapshot' && sequence !== null && !options.onContact(false)) {
          log.warn({}, 'control had been silent for too long for what must not run twice; asking for all of the desired state');
          return;
        }
        switch (message.type) {
          case 'snapshot':
            sequence = message.sequence;
            failures = 0;
            options.onSnapshot(message.instances);
            // What it has taken away must not begin again before.
            options.onContact(true);
            break;
          case 'delta':
            if (sequence === null || message.sequence !== sequence + 1) {
              log.info(
                { expected: sequence === null ? null : sequence + 1, got: message.sequence },
                'a gap in the desired state; asking for all of it',
              );
              return;
            }
            sequence = message.sequence;
            options.onDelta(message.put, message.remove);
            break;
          case 'peers':
            options.onPeers(message.edges);
            break;
          case 'peers-added':
            options.onPeersAdded(message.machines);
            break;
          case 'sessions':
            options.onSessions(message.ports);
            break;
          case 'call':
            options.onCall(message);
            break;
          case 'ping':
            break;
        }
      }
    } finally {
      cancelSilence();
      connection.abort(new Error('the connection is over'));
    }
  };

  const drive = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        await follow();
      } catch (error) {
        if (stopping.signal.aborted) return;
        // Control itself says so, as a removed Node would otherwise run on what has been replaced elsewhere.
        if (isFailure(error, 'unauthenticated') && error.details?.['removed'] === true) options.onSnapshot([]);
        const level = failures === 0 ? 'warn' : 'debug';
        log[level]({ error: messageOf(error) }, 'the connection to control broke; all Instances run on');
      }
      await clock.sleep(backoffMs(failures, RECONNECT, options.random), stopping.signal).catch(() => undefined);
      failures += 1;
    }
  };

  const running = drive();
  return {
    stop: async () => {
      stopping.abort(new Error('the agent stops'));
      await running;
    },
  };
}
