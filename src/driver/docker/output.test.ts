// The output of containers: nothing lost, nothing twice, whatever is restarted in between; and what must be lost is told.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { sized } from '../../../test/full-size.ts';
import { lacking } from '../../../test/requirements.ts';
import { systemClock } from '../../lib/clock.ts';
import { until } from '../../sys/keeper-fixture.ts';
import { readLastMark } from '../../sys/log-marks.ts';
import { openLogWriter } from '../../sys/log-segments.ts';
import { readLog } from '../../sys/log-reader.ts';
import type { RunSpec } from '../contract.ts';
import { startTestDocker } from './dockerd-fixture.ts';
import type { TestDocker } from './dockerd-fixture.ts';
import { createDriverFixture } from './driver-fixture.ts';
import type { DriverFixture } from './driver-fixture.ts';
import { readFrames } from './frames.ts';
import { beginningOf, decodePosition, encodePosition, resumeFrom } from './output-position.ts';

const never = new AbortController().signal;
const STOP = { signal: 'SIGTERM', timeoutMs: 0 } as const;

async function textsIn(folder: string): Promise<string[]> {
  const texts: string[] = [];
  for await (const { text } of readLog(folder, { follow: false, signal: never, clock: systemClock })) texts.push(text);
  return texts;
}

test('frames come whole however the engine cuts them, and a last one that is cut off is left out', async () => {
  const frame = (kind: number, text: string): Buffer => {
    const head = Buffer.alloc(8);
    head.writeUInt8(kind, 0);
    head.writeUInt32BE(Buffer.byteLength(text), 4);
    return Buffer.concat([head, Buffer.from(text)]);
  };
  const bytes = Buffer.concat([frame(1, 'one\n'), frame(2, ''), frame(2, 'two'), frame(1, 'cut off').subarray(0, 12)]);
  for (let step = 1; step <= bytes.length; step += 1) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / step) }, (_unused, at) => bytes.subarray(at * step, (at + 1) * step));
    const seen: string[] = [];
    async function* source(): AsyncGenerator<Uint8Array> {
      yield* pieces;
    }
    for await (const frames of readFrames(source()))
      seen.push(...frames.map(({ stream, payload }) => `${stream} ${payload.toString('utf8')}`));
    assert.deepEqual(seen, ['stdout one\n', 'stderr ', 'stderr two']);
  }
});

test('what was taken over is not new, what has the same time and came later is, and a gap is told once', () => {
  const position = { ...beginningOf('c'), stdout: { time: 'T5', count: 2 }, stderr: { time: 'T3', count: 1 } };
  assert.deepEqual(decodePosition(encodePosition(position), 'c'), position);
  assert.equal(decodePosition(encodePosition(position), 'd'), null);
  const whole = resumeFrom(position);
  const news = (['stderr T2', 'stderr T3', 'stdout T5', 'stderr T4', 'stdout T5', 'stdout T5', 'stdout T6'] as const).map((text) => {
    const [stream, time = ''] = text.split(' ');
    return whole.isNew(stream === 'stderr' ? 'stderr' : 'stdout', time);
  });
  assert.deepEqual(news, [false, false, false, true, false, true, true]);
  assert.equal(whole.hasGap(), false);
  const broken = resumeFrom(position);
  assert.equal(broken.isNew('stdout', 'T8'), true);
  assert.deepEqual([broken.hasGap(), broken.isNew('stdout', 'T9'), broken.hasGap()], [true, true, false]);
});

test('a mark tells what was written after it, across files, and readers do not see it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'libra-marks-'));
  try {
    const first = openLogWriter(folder, 1024 * 1024, () => 1000);
    first.write('stdout', Buffer.from('a\n'));
    first.mark(Buffer.from('here'));
    first.write('stdout', Buffer.from('bb\n'));
    first.close();
    const second = openLogWriter(folder, 1024 * 1024, () => 1000);
    second.mark(Buffer.from('of another'));
    second.write('stderr', Buffer.from('ccc\n'));
    second.lost();
    second.close();
    const mark = readLastMark(folder, (payload) => payload.toString('utf8') === 'here');
    assert.deepEqual([mark?.payload.toString('utf8'), mark?.after], ['here', { stdout: 3, stderr: 4 }]);
    assert.equal(
      readLastMark(folder, () => false),
      null,
    );
    assert.deepEqual(await textsIn(folder), ['a', 'bb', 'ccc', '… output was dropped']);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** Many times what Docker keeps, and that is more than we do. */
const FLOOD_LINES = sized({ usual: 400_000, full: 1_500_000 });
/** Lines before Docker is killed. */
const SPOKEN_BEFORE = 5;
const WAIT_MS = 60_000;

interface Speaker {
  readonly spec: RunSpec;
  /** Answers so many lines of it, or more. */
  heard(count: number): Promise<readonly string[]>;
  /** Ends its silence and waits until it has said more. */
  goOn(): Promise<void>;
}

/** Says some lines and is silent until it shall go on: a line that Docker has read and not yet written when it is killed is lost in it. */
function speakerIn(fixture: DriverFixture, key: string): Speaker {
  const flags = join(fixture.folder, 'flags');
  mkdirSync(flags);
  const script = [
    'i=0',
    'while :; do i=$((i+1)); echo tick $i',
    `if [ $i = ${SPOKEN_BEFORE} ]; then until [ -e /flags/on ]; do sleep 0.05; done; fi`,
    'if [ $i = 40 ]; then touch /flags/spoken; fi',
    'sleep 0.02; done',
  ].join('; ');
  const spec = fixture.spec(key, script, {}, { mounts: [{ source: flags, target: '/flags', readOnly: false }] });
  return {
    spec,
    heard: (count) =>
      until(
        `${count} ticks`,
        async () => {
          const texts = await textsIn(spec.logFolder);
          return texts.length >= count ? texts : null;
        },
        WAIT_MS,
      ),
    goOn: async () => {
      writeFileSync(join(flags, 'on'), '');
      await until('it spoke while there was no Docker', () => existsSync(join(flags, 'spoken')), WAIT_MS);
    },
  };
}

describe('docker', { skip: lacking('dockerd') }, () => {
  let docker: TestDocker;
  let image = '';
  before(async () => {
    docker = await startTestDocker();
    image = await docker.image('busybox-test');
  });
  after(() => docker.stop());

  test('agents that are restarted in the middle repeat nothing and lose nothing', async () => {
    await using fixture = createDriverFixture(docker, image);
    const script = 'for i in $(seq 1 4000); do echo line $i; [ $((i % 100)) = 0 ] && sleep 0.05; done; echo the end >&2';
    const spec = fixture.spec('talk.1', script);
    let driver = await fixture.create();
    const handle = await driver.ensure(spec);
    for (let round = 1; round <= 5; round += 1) {
      const wanted = `line ${round * 500}`;
      await until(wanted, async () => (await textsIn(spec.logFolder)).includes(wanted));
      await driver.close();
      driver = await fixture.create();
      await driver.inspect(handle);
    }
    // The last one comes when all is over and takes the rest.
    await driver.close();
    driver = await fixture.create();
    await driver.wait(handle, never);
    const texts = await textsIn(spec.logFolder);
    assert.deepEqual(texts, [...Array.from({ length: 4000 }, (_unused, at) => `line ${at + 1}`), 'the end']);
  });

  test('long lines come as they were written, and a flood that cannot be kept is told', async () => {
    await using fixture = createDriverFixture(docker, image);
    const driver = await fixture.create();
    const long = fixture.spec('long.1', 'head -c 100000 /dev/zero | tr "\\\\0" x; echo; printf unfinished');
    await driver.wait(await driver.ensure(long), never);
    const [line = '', ...rest] = await textsIn(long.logFolder);
    assert.deepEqual([line.length + (rest[0]?.length ?? 0), rest.at(-1)], [100_000, 'unfinished']);
    const flood = fixture.spec('flood.1', `seq 1 ${FLOOD_LINES}`);
    await driver.wait(await driver.ensure(flood), never);
    const texts = await textsIn(flood.logFolder);
    assert.equal(texts.at(-1), String(FLOOD_LINES));
    let gaps = 0;
    for (const [index, text] of texts.entries()) {
      const before = Number(texts[index - 1]);
      if (text.endsWith('dropped')) gaps += 1;
      else if (!Number.isNaN(before)) assert.equal(Number(text), before + 1, `after ${before}`);
    }
    assert.ok(gaps > 0 || texts[0] !== '1', 'more was written than is kept');
  });

  test('a killed and restarted Docker: what became of the container is told, and its output is whole', async () => {
    await using fixture = createDriverFixture(docker, image);
    const driver = await fixture.create();
    const speaker = speakerIn(fixture, 'lost.1');
    const handle = await driver.ensure(speaker.spec);
    await speaker.heard(SPOKEN_BEFORE);
    const ended = driver.wait(handle, never);
    await docker.signal('SIGKILL');
    await speaker.goOn();
    await assert.rejects(driver.inspect(handle), { code: 'unreachable' });
    await docker.start();
    const end = await ended;
    assert.ok(end.state === 'exited' && end.signal !== null);
    assert.match(end.note ?? '', /restarted/u);
    const texts = (await textsIn(speaker.spec.logFolder)).filter((text) => text.startsWith('tick'));
    assert.ok(texts.length >= SPOKEN_BEFORE);
    assert.deepEqual(
      texts,
      Array.from(texts, (_unused, at) => `tick ${at + 1}`),
    );
    assert.deepEqual(await driver.stop(handle, STOP), end);
  });
});

test(
  'a Docker with live-restore that is killed and restarted: the container runs on, and no line is lost or repeated',
  { skip: lacking('dockerd') },
  async () => {
    await using docker = await startTestDocker({ words: ['--live-restore'] });
    await using fixture = createDriverFixture(docker, await docker.image('busybox-test'));
    const driver = await fixture.create();
    const speaker = speakerIn(fixture, 'lasting.1');
    const handle = await driver.ensure(speaker.spec);
    const before = await driver.inspect(handle);
    await speaker.heard(SPOKEN_BEFORE);
    await docker.signal('SIGKILL');
    await speaker.goOn();
    assert.equal((await textsIn(speaker.spec.logFolder)).length, SPOKEN_BEFORE);
    await docker.start();
    const texts = await speaker.heard(80);
    assert.deepEqual(
      texts,
      Array.from(texts, (_unused, at) => `tick ${at + 1}`),
    );
    assert.deepEqual(await driver.inspect(handle), before);
    assert.equal((await driver.stop(handle, STOP)).state, 'exited');
  },
);
