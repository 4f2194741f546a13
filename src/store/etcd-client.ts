// Calls to an etcd cluster (3.4 and later, API v3) over gRPC. One member is asked until it fails, then the next. What may have been
// carried out is never sent a second time.

import { Failure, messageOf } from '../lib/failure.ts';
import { etcd } from './etcd-messages.ts';
import type { Method } from './etcd-messages.ts';
import { createGrpcChannel, FRAME_BYTES, GrpcRefusal, NotSent } from './grpc-channel.ts';
import type { GrpcChannel, GrpcHeaders, GrpcTls } from './grpc-channel.ts';
import { decode, encode } from './protobuf.ts';
import type { Said } from './protobuf.ts';

export interface EtcdClient {
  /** How many there are to ask. */
  readonly members: number;
  /** Throws `unavailable` where no member answers, else what the cluster refuses with. */
  call<Q, A>(method: Method<Q, A>, ask: Said<Q>, options: CallOptions): Promise<A>;
  /** The messages of a stream, one after the other, until the signal aborts. Throws as `call` does, and `unavailable` where it breaks. */
  stream<Q, A>(method: Method<Q, A>, ask: Said<Q>, signal: AbortSignal): AsyncIterable<A>;
  close(): void;
}

export interface CallOptions {
  /** Carried out twice it does what it does once: where an answer does not come, another member is asked. */
  readonly repeatable: boolean;
  /** So long one member is waited for at most, where that is less than usual. */
  readonly deadlineMs?: number;
}

export interface ClientOptions {
  readonly tls?: GrpcTls;
  readonly login?: { readonly name: string; readonly password: string };
}

const CODE = { notFound: 5, resourceExhausted: 8, unavailable: 14, unauthenticated: 16 } as const;

const CALL_MS = 10_000;
/** Of what another member can be asked just as well: one that is stuck shall not cost whoever waits his lease. */
const REPEATABLE_MS = 3_000;

/** So long a cluster without a leader is asked again, and so often: an election takes a second or two. */
const ELECTION_MS = 8_000;
const ELECTION_PAUSE_MS = 250;

/** @param endpoints such as `http://127.0.0.1:2379`; at least one. */
export function createEtcdClient(endpoints: readonly string[], { tls = {}, login }: ClientOptions = {}): EtcdClient {
  const channels = endpoints.map((endpoint) => createGrpcChannel(endpoint, tls));
  let current = 0;
  let token: Promise<string> | null = null;

  const logIn = async (channel: GrpcChannel, account: { readonly name: string; readonly password: string }): Promise<string> => {
    const { path, asks, answers } = etcd.authenticate;
    const answer = await channel.call(path, encode(asks, account, FRAME_BYTES), {}, AbortSignal.timeout(REPEATABLE_MS));
    return decode(answers, answer).token;
  };
  /** For the calls that follow, until the cluster knows it no longer. */
  const authorized = async <T>(channel: GrpcChannel, attempt: (headers: GrpcHeaders) => Promise<T>): Promise<T> => {
    if (login === undefined) return await attempt({});
    for (let tries = 0; ; tries += 1) {
      const its = (token ??= logIn(channel, login));
      try {
        return await attempt({ token: await its });
      } catch (error) {
        if (token === its) token = null;
        if (!isRefusal(error, 'unauthenticated') || tries > 0) throw error;
      }
    }
  };

  /**
   * What was not sent, or may be sent again, goes to each member once. Where one of them has said why it cannot answer, such as that there
   * is no leader yet, it is asked again until there was time for an election.
   */
  const ask = async <T>(path: string, isRepeatable: boolean, attempt: (channel: GrpcChannel) => Promise<T>): Promise<T> => {
    let last: unknown = null;
    let isElecting = false;
    const over = AbortSignal.timeout(ELECTION_MS);
    for (let tries = 0; tries < channels.length || (isRepeatable && isElecting && !over.aborted); tries += 1) {
      if (tries >= channels.length) await new Promise((resolve) => setTimeout(resolve, ELECTION_PAUSE_MS));
      const at = current;
      const channel = channels[at % channels.length];
      if (channel === undefined) break;
      try {
        return await attempt(channel);
      } catch (error) {
        if (error instanceof GrpcRefusal && error.code !== CODE.unavailable) throw mapped(error);
        last = error;
        isElecting ||= error instanceof GrpcRefusal;
        if (current === at) current = (at + 1) % channels.length;
        if (!isRepeatable && !(error instanceof NotSent)) break;
      }
    }
    throw new Failure('unavailable', {
      message: `The etcd cluster does not answer (${path}): ${messageOf(last)}`,
      hint: 'See whether most of its members run and can be reached.',
      cause: last,
    });
  };

  return {
    members: channels.length,
    call: async ({ path, asks, answers }, said, { repeatable, deadlineMs = CALL_MS }) => {
      const message = encode(asks, said, FRAME_BYTES);
      const waitMs = Math.min(deadlineMs, repeatable && channels.length > 1 ? REPEATABLE_MS : CALL_MS);
      const answer = await ask(path, repeatable, (channel) =>
        authorized(channel, (headers) => channel.call(path, message, headers, AbortSignal.timeout(waitMs))),
      );
      return decode(answers, answer);
    },
    stream: async function* ({ path, asks, answers }, said, signal) {
      const message = encode(asks, said, FRAME_BYTES);
      const opened = async (
        channel: GrpcChannel,
      ): Promise<{ readonly first: IteratorResult<Buffer, void>; readonly rest: AsyncIterator<Buffer, void> }> =>
        await authorized(channel, async (headers) => {
          // A stream has no deadline, but its beginning has: a member that is stuck takes the connection and says nothing.
          const signals = { begin: AbortSignal.timeout(REPEATABLE_MS), signal };
          const rest = channel.stream(path, message, headers, signals)[Symbol.asyncIterator]();
          return { first: await rest.next(), rest };
        });
      let rest: AsyncIterator<Buffer, void> | null = null;
      try {
        const begun = await ask(path, true, opened);
        ({ rest } = begun);
        for (let next = begun.first; next.done !== true; next = await rest.next()) yield decode(answers, next.value);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof GrpcRefusal && error.code !== CODE.unavailable) throw mapped(error);
        if (error instanceof Failure) throw error;
        throw new Failure('unavailable', { message: `A stream of the etcd cluster broke (${path}): ${messageOf(error)}`, cause: error });
      } finally {
        await rest?.return?.();
      }
      if (!signal.aborted) throw new Failure('unavailable', { message: `A stream of the etcd cluster has ended (${path}).` });
    },
    close: () => {
      for (const channel of channels) channel.close();
    },
  };
}

export function isRefusal(error: unknown, code: keyof typeof CODE): boolean {
  return error instanceof GrpcRefusal && error.code === CODE[code];
}

/** What the callers of the store can do something about. */
function mapped(refusal: GrpcRefusal): Error {
  if (refusal.code !== CODE.resourceExhausted) return refusal;
  return new Failure('storage_failed', {
    message: `The etcd cluster takes no more: ${refusal.message}`,
    hint: 'Where its space is exceeded: compact, defragment, raise its quota and disarm the alarm (etcdctl).',
    cause: refusal,
  });
}
