// One copy over the socket of the API: the tar as a stream that waits for whoever is slower, and its end, without which it was broken off.

import { CALL_FRAME } from '../api/agent.ts';
import type { CopyEnd } from '../api/agent.ts';
import { socketUrl } from '../api/client.ts';
import { table } from '../api/table.ts';
import { FAILURE_CODES, Failure } from '../lib/failure.ts';
import type { FailureCode } from '../lib/failure.ts';
import { openFrameSocket } from '../sys/frame-socket.ts';
import { refusal } from './call-socket.ts';
import type { CommandContext } from './command.ts';

const copyUrl = (url: string, input: Parameters<typeof socketUrl<typeof table.instances.files>>[2]): string =>
  socketUrl(url, table.instances.files, input);

export interface CopySession {
  /** The tar that comes. Throws what the Node could not do. */
  readonly tar: AsyncIterable<Uint8Array>;
  /** Sends all of a tar; ends early where the Node has given up. */
  send(tar: AsyncIterable<Uint8Array>): Promise<void>;
  /** What became of it, when all has come. */
  end(): Promise<CopyEnd>;
  close(): Promise<void>;
}

export async function openCopy(context: CommandContext, input: Parameters<typeof copyUrl>[1]): Promise<CopySession> {
  const { url, token } = await context.endpoint();
  const socket = await openFrameSocket(copyUrl(url, input), { token, signal: context.signal, refused: refusal });
  const frames = socket.frames[Symbol.asyncIterator]();
  let report: CopyEnd = { leftOut: 0, examples: [] };
  let isDone = false;

  /** The next piece of the tar; null: it has ended well. */
  const next = async (): Promise<Uint8Array | null> => {
    while (!isDone) {
      const { done, value } = await frames.next();
      if (done === true)
        throw new Failure('unreachable', { message: 'The connection ended before the copy did.', hint: 'Try again; whole files stay.' });
      const payload = value.subarray(1);
      if (value[0] === CALL_FRAME.output) return payload;
      if (value[0] === CALL_FRAME.failure) throw failureIn(payload);
      if (value[0] === CALL_FRAME.json) report = endIn(payload);
      if (value[0] === CALL_FRAME.exit) isDone = true;
    }
    return null;
  };
  async function* tar(): AsyncGenerator<Uint8Array> {
    for (let piece = await next(); piece !== null; piece = await next()) yield piece;
  }
  const end = async (): Promise<CopyEnd> => {
    while ((await next()) !== null); // the end of a tar may be followed by more of it
    return report;
  };

  return {
    tar: tar(),
    end,
    send: async (source) => {
      const over = { failed: false };
      // The Node speaks first only where it cannot go on.
      const answer = end().catch((error: unknown) => {
        over.failed = true;
        throw error;
      });
      answer.catch(() => undefined);
      try {
        for await (const chunk of source) {
          if (over.failed) break;
          await socket.send(Buffer.concat([Uint8Array.of(CALL_FRAME.input), chunk]));
        }
        if (!over.failed) await socket.send(Uint8Array.of(CALL_FRAME.endInput));
      } catch (error) {
        if (error instanceof Failure && error.code !== 'unreachable') throw error;
        await answer; // which says why it has gone
        throw error;
      }
      await answer;
    },
    close: () => socket.close(),
  };
}

function textIn(payload: Uint8Array): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(Buffer.from(payload).toString('utf8'));
  // Any object can be read by string keys; every field is checked when it is read.
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function failureIn(payload: Uint8Array): Failure {
  const { code, message, hint } = textIn(payload);
  const known = typeof code === 'string' && Object.hasOwn(FAILURE_CODES, code);
  return new Failure(known ? (code as FailureCode) : 'internal' /* one of the table's own keys, as just checked */, {
    message: typeof message === 'string' ? message : 'The Node could not do it.',
    hint: typeof hint === 'string' ? hint : undefined,
  });
}

function endIn(payload: Uint8Array): CopyEnd {
  const { files, bytes, leftOut, examples } = textIn(payload);
  const told = (Array.isArray(examples) ? examples : []).flatMap((each: unknown) =>
    typeof each === 'object' && each !== null && 'path' in each && 'why' in each
      ? [{ path: String(each.path), why: String(each.why) }]
      : [],
  );
  return {
    ...(typeof files === 'number' ? { files } : {}),
    ...(typeof bytes === 'number' ? { bytes } : {}),
    leftOut: typeof leftOut === 'number' ? leftOut : 0,
    examples: told,
  };
}
