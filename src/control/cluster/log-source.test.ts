import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CALL_FRAME } from '../../api/agent.ts';
import type { AgentCall } from '../../api/agent.ts';
import { Failure } from '../../lib/failure.ts';
import { create, put } from '../../store/records.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import { anInstance, aStatus, createTestContext } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import type { AgentCalls } from './calls.ts';
import type { AgentLogLine } from './log-position.ts';
import { createLogSources } from './log-source.ts';
import { instanceStatusRecords } from './records.ts';

type LogCall = Extract<AgentCall, { kind: 'logs' }>;

/** What the agent does with one call: lines to send, then how it ends. */
interface Answer {
  readonly lines: readonly number[];
  readonly ending: 'close' | 'break' | 'stay' | 'unknown';
}

const frame = (kind: number, value: unknown): Buffer => Buffer.concat([Buffer.of(kind), Buffer.from(JSON.stringify(value))]);

function agentThat(answers: Answer[], asked: LogCall[]): AgentCalls {
  const frames = async function* (answer: Answer, closed: Promise<void>): AsyncGenerator<Buffer> {
    for (const n of answer.lines) yield frame(CALL_FRAME.json, { atMs: n, stream: 'stdout', text: `line ${n}`, cursor: String(n) });
    if (answer.ending === 'unknown') yield frame(CALL_FRAME.failure, { code: 'not_found', message: 'not known here' });
    if (answer.ending === 'break') throw new Failure('unavailable', { message: 'broke' });
    if (answer.ending === 'stay') await closed;
  };
  return {
    answer: () => Promise.resolve(),
    stop: () => undefined,
    open: async (_nodeId, call) => {
      assert.ok(call.kind === 'logs');
      asked.push(call);
      const answer = answers.shift() ?? { lines: [], ending: 'close' };
      const closed = Promise.withResolvers<void>();
      return { frames: frames(answer, closed.promise), send: () => Promise.resolve(), close: () => closed.resolve() };
    },
  };
}

async function followed(
  context: TestContext,
  answers: Answer[],
  when: (texts: readonly string[]) => Promise<void>,
): Promise<{ texts: string[]; asked: LogCall[] }> {
  const asked: LogCall[] = [];
  const spec = anInstance();
  await context.view.commit(create(instanceSpecRecords, spec), put(instanceStatusRecords, aStatus()));
  const texts: string[] = [];
  const lines: AsyncIterable<AgentLogLine> = createLogSources(context, { calls: agentThat(answers, asked) }).follow(
    spec,
    { after: null, filter: null },
    new AbortController().signal,
  );
  const state = { over: false };
  const reading = (async () => {
    for await (const line of lines) texts.push(line.text);
    state.over = true;
  })();
  for (let turn = 0; !state.over; turn += 1) {
    assert.ok(turn < 200, 'the stream ends');
    await context.clock.advance(100);
    await when(texts);
  }
  await reading;
  return { texts, asked };
}

const end = (context: TestContext) => context.view.commit(put(instanceStatusRecords, aStatus({ phase: 'succeeded' })));

test('a broken stream goes on after the last line, and the last words of an ended Instance are read too', async () => {
  const context = await createTestContext();
  let ended = false;
  const answers: Answer[] = [
    { lines: [], ending: 'unknown' },
    { lines: [1, 2], ending: 'break' },
    { lines: [3], ending: 'stay' },
    { lines: [4, 5], ending: 'close' },
  ];
  const { texts, asked } = await followed(context, answers, async (read) => {
    if (read.length === 3 && !ended) {
      ended = true;
      await end(context);
    }
  });
  assert.deepEqual(texts, ['line 1', 'line 2', 'line 3', 'line 4', 'line 5']);
  assert.deepEqual(
    asked.map((call) => [call.after, call.follow]),
    [
      [null, true],
      [null, true],
      ['2', true],
      ['3', false],
    ],
  );
  await context.close();
});

test('following an Instance whose agent has forgotten it, or is gone for good, ends', async () => {
  for (const ending of ['unknown', 'break'] as const) {
    const context = await createTestContext();
    await context.view.commit(put(instanceStatusRecords, aStatus({ phase: 'lost' })));
    const answers: Answer[] = Array.from({ length: 10 }, () => ({ lines: [], ending }));
    const { texts, asked } = await followed(context, answers, () => end(context).then(() => undefined));
    assert.deepEqual(texts, []);
    assert.ok(asked.length <= 6);
    await context.close();
  }
});
