// Every message of the corpus goes through a real Edge to real servers: it is refused by us, or what arrives behind each server is what
// we understood. A server may refuse more than we do; it may never understand something else.

import assert from 'node:assert/strict';
import net from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { after, before, describe, test } from 'node:test';
import { group, rule, startEdge, target, until } from '../../src/edge/edge-fixture.ts';
import type { TestEdge } from '../../src/edge/edge-fixture.ts';
import { lacking } from '../requirements.ts';
import { FRAMING } from './corpus-framing.ts';
import { TARGETS } from './corpus-target.ts';
import { HOST } from './message.ts';
import type { Message, Understood } from './message.ts';
import { startRecorder } from './recorder.ts';
import type { Recorder } from './recorder.ts';
import { SERVERS, startServer } from './servers.ts';

const CORPUS: readonly Message[] = [...FRAMING, ...TARGETS];
const LIMIT_MS = 10_000;

/** Sends the bytes, ends our side, and resolves with all that comes back. */
function converse(port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    let answer = '';
    socket.setTimeout(LIMIT_MS, () => {
      socket.destroy();
      reject(new Error(`nothing for ${LIMIT_MS} ms after ${JSON.stringify(answer.slice(0, 200))}`));
    });
    socket.on('data', (chunk) => (answer += chunk.toString('latin1')));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(answer));
    socket.end(bytes, 'latin1');
  });
}

/** Statuses of the answers, interim ones left out. */
function statuses(answer: string): number[] {
  return [...answer.matchAll(/HTTP\/1\.1 ([2-9]\d\d) /gu)].map((match) => Number(match[1]));
}

/** Fields of one connection, and those that the corpus names in Connection. */
const NEVER_CROSS = ['http2-settings', 'proxy-connection', 'keep-alive', 'upgrade', 'x-hop'];

describe('a hostile corpus', () => {
  let edge: TestEdge;
  let recorder: Recorder;
  before(async () => {
    recorder = await startRecorder();
    edge = await startEdge();
  });
  after(async () => {
    await edge.stop();
    await recorder.stop();
  });

  const pointAt = async (port: number): Promise<void> => {
    await edge.install({ rules: [rule(HOST, 'app')], groups: [group('app', [target(`i${port}`, port)])] });
  };

  /** A chunked request whose head has reached the next server when its body turns out not to be valid. */
  const breakOff = async (): Promise<readonly Understood[]> => {
    const socket = net.connect({ host: '127.0.0.1', port: edge.port });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined);
    socket.resume();
    socket.write(`POST /part HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`);
    await until('the request is open', () => edge.edge.health().open === 1);
    socket.write('nonsense\r\n');
    await closed;
    await until('it is over', () => edge.edge.health().open === 0);
    // Behind it on a connection of its own: when this has arrived, the other would have.
    await converse(edge.port, `GET /behind HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
    return recorder.take().filter((one) => one.target !== '/behind');
  };

  test('has at least 400 different messages, each with a name of its own', () => {
    assert.ok(CORPUS.length >= 400, `${CORPUS.length}`);
    assert.equal(new Set(CORPUS.map((message) => message.bytes)).size, CORPUS.length);
    assert.equal(new Set(CORPUS.map((message) => message.name)).size, CORPUS.length);
  });

  test('is refused, or understood by node:http as we understood it', async () => {
    await pointAt(recorder.port);
    const wrong: unknown[] = [];
    for (const message of CORPUS) {
      const got = statuses(await converse(edge.port, message.bytes));
      const arrived = recorder.take();
      const expected = [...message.arrives.map(() => 200), ...(message.refused === null ? [] : [message.refused])];
      try {
        assert.deepEqual(arrived, message.arrives);
        assert.deepEqual(got, expected);
        for (const name of NEVER_CROSS) assert.ok(!recorder.fields().has(name), name);
      } catch {
        wrong.push({ name: message.name, bytes: message.bytes.slice(0, 300), arrived, expected: message.arrives, got, statuses: expected });
      }
    }
    assert.deepEqual(wrong, []);
  });

  for (const kind of SERVERS) {
    test(`is understood by ${kind.name} as we understood it`, { skip: lacking(kind.name) }, async (t) => {
      const server = await startServer(kind, recorder.port);
      try {
        await pointAt(server.port);
        const wrong: unknown[] = [];
        for (const message of CORPUS) {
          const got = statuses(await converse(edge.port, message.bytes));
          const arrived = recorder.take();
          const expected = kind.changes?.[message.name] ?? message.arrives;
          const refusal = message.refused === null ? [] : [message.refused];
          const refused = kind.refuses?.includes(message.name) === true;
          // What it refuses it refuses alone: each request that we let through has one answer, and nothing else arrives.
          const right = refused
            ? isPartOf(arrived, expected) && isRefusedPartly(got, expected.length, refusal)
            : isDeepStrictEqual(arrived, expected) && isDeepStrictEqual(got, [...message.arrives.map(() => 200), ...refusal]);
          if (!right) wrong.push({ name: message.name, arrived, expected, got });
        }
        t.diagnostic(
          `${CORPUS.length} messages, ${kind.refuses?.length ?? 0} refused there, ${Object.keys(kind.changes ?? {}).length} changed there`,
        );
        assert.deepEqual(wrong, []);
        assert.equal((await breakOff()).length > 0, kind.completesBroken === true, 'what broke off is not taken for whole');
      } finally {
        await server.stop();
      }
    });
  }
});

/** Nothing arrived that we did not understand, and in no other order. */
function isPartOf(arrived: readonly Understood[], expected: readonly Understood[]): boolean {
  let at = 0;
  return arrived.every((one) => {
    while (at < expected.length) {
      const other = expected[at];
      at += 1;
      if (other !== undefined && JSON.stringify(other) === JSON.stringify(one)) return true;
    }
    return false;
  });
}

/** As many answers as there were requests, at least one of them a refusal. */
function isRefusedPartly(got: readonly number[], sent: number, refusal: readonly number[]): boolean {
  const theirs = got.slice(0, got.length - refusal.length);
  return isDeepStrictEqual(got.slice(theirs.length), refusal) && theirs.length === sent && theirs.some((status) => status >= 400);
}
