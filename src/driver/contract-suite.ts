// What every driver must do, as tests: run on each implementation, the fake included, so that what is tested with the fake holds.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { entryHeader, TAR_END, tarPadding } from '../sys/bundle-tar.ts';
import { readCopy } from '../sys/copy-tar.ts';
import type { CopyPlace, Driver, DriverHandle, LogLine, RunSpec, Usage } from './contract.ts';
import type { FakeBehaviour } from './fake.ts';

/** What the program of a test does; each implementation translates it. */
export type Behaviour = Pick<FakeBehaviour, 'exitAfterMs' | 'exitCode' | 'lines' | 'ignoresStop'> & { readonly missingCommand?: boolean };

export interface DriverHarness {
  readonly driver: Driver;
  /** A spec for a program that behaves so. */
  spec(key: string, behaviour: Behaviour): Promise<RunSpec>;
  /** A new driver object on the same machine, as after a restart of the agent. */
  restart(): Promise<Driver>;
  close(): Promise<void>;
}

const never = new AbortController().signal;
const stopping = { signal: 'SIGTERM', timeoutMs: 5000 } as const;

async function collect(lines: AsyncIterable<LogLine>): Promise<LogLine[]> {
  const all: LogLine[] = [];
  for await (const line of lines) all.push(line);
  return all;
}

export function testDriverContract(name: string, createHarness: () => Promise<DriverHarness>): void {
  describe(`driver contract: ${name}`, () => {
    let harness: DriverHarness;
    beforeEach(async () => {
      harness = await createHarness();
    });
    afterEach(() => harness.close());

    const start = async (key: string, behaviour: Behaviour): Promise<{ spec: RunSpec; handle: DriverHandle }> => {
      const spec = await harness.spec(key, behaviour);
      return { spec, handle: await harness.driver.ensure(spec) };
    };

    test('a started program runs until it is stopped, and then has ended', async () => {
      const { handle } = await start('run.1', {});
      assert.equal((await harness.driver.inspect(handle)).state, 'running');
      const end = await harness.driver.stop(handle, stopping);
      assert.equal(end.state, 'exited');
      assert.deepEqual(await harness.driver.inspect(handle), end);
    });

    test('stopping twice gives the same end', async () => {
      const { handle } = await start('twice.1', {});
      const [first, second] = await Promise.all([harness.driver.stop(handle, stopping), harness.driver.stop(handle, stopping)]);
      assert.deepEqual(first, second);
      assert.deepEqual(await harness.driver.stop(handle, stopping), first);
    });

    test('a program that ends by itself is reported with its code', async () => {
      const { handle } = await start('ends.1', { exitAfterMs: 50, exitCode: 7 });
      const end = await harness.driver.wait(handle, never);
      assert.ok(end.state === 'exited');
      assert.deepEqual([end.code, end.signal, end.outOfMemory], [7, null, false]);
    });

    test('the same key starts one program, whether asked at once or later', async () => {
      const spec = await harness.spec('once.1', { lines: ['started'] });
      const handles = await Promise.all([harness.driver.ensure(spec), harness.driver.ensure(spec), harness.driver.ensure(spec)]);
      assert.deepEqual(await harness.driver.ensure(spec), handles[0]);
      const [handle] = handles;
      assert.ok(handle !== undefined);
      await firstLine(spec);
      await harness.driver.stop(handle, stopping);
      const lines = await collect(harness.driver.logs(spec.logFolder, { follow: false, signal: never }));
      assert.equal(lines.filter((line) => line.text === 'started').length, 1);
    });

    test('an ended attempt is not started again by its key', async () => {
      const { spec, handle } = await start('ended.1', { exitAfterMs: 10, exitCode: 3 });
      const end = await harness.driver.wait(handle, never);
      assert.deepEqual(await harness.driver.inspect(await harness.driver.ensure(spec)), end);
    });

    test('a command that does not exist is refused as start_failed with the reason', async () => {
      const spec = await harness.spec('missing.1', { missingCommand: true });
      await assert.rejects(harness.driver.ensure(spec), (error: unknown) => {
        assert.ok(error instanceof Error && 'code' in error && 'details' in error);
        assert.equal(error.code, 'start_failed');
        assert.ok(typeof error.details === 'object' && error.details !== null && 'reason' in error.details);
        assert.equal(error.details.reason, 'command_not_found');
        return true;
      });
    });

    test('a program that ignores the signal is killed when its time is over', async () => {
      const { spec, handle } = await start('stubborn.1', { ignoresStop: true, lines: ['ready'] });
      await firstLine(spec);
      const end = await harness.driver.stop(handle, { signal: 'SIGTERM', timeoutMs: 300 });
      assert.ok(end.state === 'exited');
      assert.equal(end.signal, 'SIGKILL');
    });

    test('a new driver object finds the program and its end', async () => {
      const { handle } = await start('survivor.1', {});
      const stored: unknown = JSON.parse(JSON.stringify(handle));
      assert.deepEqual(stored, handle);
      const next = await harness.restart();
      assert.equal((await next.inspect(handle)).state, 'running');
      const end = await next.stop(handle, stopping);
      assert.equal(end.state, 'exited');
      await next.close();
    });

    test('a removed attempt is unknown afterwards, and removing it again does nothing', async () => {
      const { handle } = await start('gone.1', { exitAfterMs: 10 });
      await harness.driver.wait(handle, never);
      await harness.driver.remove(handle);
      await harness.driver.remove(handle);
      assert.equal((await harness.driver.inspect(handle)).state, 'unknown');
    });

    test('logs give the lines by stream, the tail, and what follows a cursor', async () => {
      const { spec, handle } = await start('logs.1', { lines: ['one', 'two', '! three', 'four'], exitAfterMs: 50 });
      await harness.driver.wait(handle, never);
      const all = await collect(harness.driver.logs(spec.logFolder, { follow: false, signal: never }));
      assert.deepEqual(
        all.filter((line) => line.stream === 'stdout').map((line) => line.text),
        ['one', 'two', 'four'],
      );
      assert.deepEqual(
        all.filter((line) => line.stream === 'stderr').map((line) => line.text),
        ['three'],
      );
      assert.deepEqual(await collect(harness.driver.logs(spec.logFolder, { tail: 2, follow: false, signal: never })), all.slice(-2));
      const rest = await collect(harness.driver.logs(spec.logFolder, { after: all[0]?.cursor, follow: false, signal: never }));
      assert.deepEqual(rest, all.slice(1));
    });

    test('a follower of the log sees what is written, and ends with its signal', async () => {
      const { spec, handle } = await start('follow.1', { lines: ['hello'] });
      const stop = new AbortController();
      const seen: string[] = [];
      for await (const line of harness.driver.logs(spec.logFolder, { follow: true, signal: stop.signal })) {
        seen.push(line.text);
        stop.abort();
      }
      assert.deepEqual(seen, ['hello']);
      await harness.driver.stop(handle, stopping);
    });

    test('what a program takes are counters that do not go back, and what cannot be told is left out', async () => {
      const { spec, handle } = await start('takes.1', { lines: ['ready'] });
      await firstLine(spec);
      const counters = (usage: Usage | undefined): readonly (readonly [string, number])[] => {
        assert.ok(usage !== undefined && usage.processes >= 1 && usage.memoryBytes >= 0);
        const { cpuSeconds, network = {}, disk = {} } = usage;
        return Object.entries({ cpuSeconds, ...network, ...disk });
      };
      const first = counters(await harness.driver.usage?.(handle));
      const second = new Map(counters(await harness.driver.usage?.(handle)));
      for (const [name, value] of first) assert.ok(value >= 0 && (second.get(name) ?? -1) >= value, name);
      await harness.driver.stop(handle, stopping);
    });

    test('files go in and come out as they were, over what is there, and links stay links', async () => {
      const { spec, handle } = await start('files.1', { lines: ['ready'] });
      await firstLine(spec);
      const report = await write(spec, handle, 'copied', tarOf('data', 'first'));
      assert.deepEqual(report, { files: 3, bytes: 10 });
      const expected = ['copied folder 755', 'copied/a file 640 first', 'copied/link link a', 'copied/run file 755 echo\n'];
      assert.deepEqual(await read(spec, handle, 'copied'), expected);
      await write(spec, handle, 'copied', tarOf('a', 'second', true));
      assert.deepEqual(await read(spec, handle, 'copied/a'), ['a file 640 second']);
      await write(spec, handle, 'copied/', tarOf('data', 'third'));
      assert.deepEqual((await read(spec, handle, 'copied/data')).slice(0, 2), ['data folder 755', 'data/a file 640 third']);
      await write(spec, handle, 'copied', tarOf('other', 'raw'), false);
      assert.deepEqual(await read(spec, handle, 'copied/other/a'), ['a file 640 raw']);
      await harness.driver.stop(handle, stopping);
    });

    test('a path with nothing there, and a tar that leads elsewhere, are refused', async () => {
      const { spec, handle } = await start('nothing.1', { lines: ['ready'] });
      await firstLine(spec);
      await assert.rejects(read(spec, handle, 'none'), { code: 'not_found' });
      await assert.rejects(write(spec, handle, 'none', tarOf('data', 'x'), false), { code: 'not_found' });
      await assert.rejects(write(spec, handle, 'none/', tarOf('data', 'x')), { code: 'not_found' });
      await assert.rejects(write(spec, handle, 'none/deeper', tarOf('data', 'x')), { code: 'not_found' });
      await assert.rejects(write(spec, handle, 'evil', tarOf('../up', 'x')), { code: 'bundle_invalid' });
      await assert.rejects(read(spec, handle, 'evil'), { code: 'not_found' });
      await harness.driver.stop(handle, stopping);
    });

    test('a sweep ends what nobody knows and leaves the rest alone', async () => {
      const { handle: known } = await start('known.1', {});
      const { handle: unknown } = await start('unknown.1', {});
      assert.deepEqual(await harness.driver.sweep(new Set(['known.1'])), ['unknown.1']);
      assert.equal((await harness.driver.inspect(known)).state, 'running');
      assert.equal((await harness.driver.inspect(unknown)).state, 'unknown');
      await harness.driver.stop(known, stopping);
    });

    test('waiting ends with its signal while the program goes on', async () => {
      const { handle } = await start('patient.1', {});
      const giveUp = new AbortController();
      const waited = harness.driver.wait(handle, giveUp.signal);
      giveUp.abort(new Error('enough'));
      await assert.rejects(waited, { message: 'enough' });
      assert.equal((await harness.driver.inspect(handle)).state, 'running');
      await harness.driver.stop(handle, stopping);
    });

    const place = (spec: RunSpec, path: string): CopyPlace => ({
      path,
      workFolder: spec.container === undefined ? spec.workFolder : spec.container.workFolder,
      folders: [spec.workFolder],
    });

    /** Two files and a link in a folder of that name, or one file. */
    async function* tarOf(name: string, text: string, alone = false): AsyncGenerator<Uint8Array> {
      const file = (path: string, mode: number, content: string): readonly Uint8Array[] => [
        entryHeader({ name: path, kind: 'file', mode, sizeBytes: content.length, target: '' }),
        Buffer.from(content),
        tarPadding(content.length),
      ];
      if (alone) yield* file(name, 0o640, text);
      else {
        yield entryHeader({ name, kind: 'folder', mode: 0o755, sizeBytes: 0, target: '' });
        yield* file(`${name}/a`, 0o640, text);
        yield* file(`${name}/run`, 0o4755, 'echo\n');
        yield entryHeader({ name: `${name}/link`, kind: 'link', mode: 0o777, sizeBytes: 0, target: 'a' });
      }
      yield TAR_END;
    }

    async function write(
      spec: RunSpec,
      handle: DriverHandle,
      path: string,
      tar: AsyncIterable<Uint8Array>,
      named = true,
    ): Promise<unknown> {
      const how = { named, leaveOut: (left: string) => assert.fail(left), signal: never };
      return await harness.driver.writeFiles?.(handle, place(spec, path), tar, how);
    }

    /** A line for each entry, in the order of their paths. */
    async function read(spec: RunSpec, handle: DriverHandle, path: string): Promise<readonly string[]> {
      const leaveOut = (left: string): void => assert.fail(left);
      const tar = harness.driver.readFiles?.(handle, place(spec, path), leaveOut);
      assert.ok(tar !== undefined);
      const lines: string[] = [];
      for await (const entry of readCopy(tar, { as: null, leaveOut })) {
        let rest = '';
        if (entry.kind === 'file') for await (const chunk of entry.body) rest += Buffer.from(chunk).toString();
        if (entry.kind === 'link') rest = entry.target;
        const mode = 'mode' in entry ? `${entry.mode.toString(8)} ` : '';
        lines.push(`${entry.path} ${entry.kind} ${mode}${rest}`.trimEnd().concat(rest.endsWith('\n') ? '\n' : ''));
      }
      return lines.toSorted();
    }

    async function firstLine(spec: RunSpec): Promise<string | undefined> {
      const stop = new AbortController();
      for await (const line of harness.driver.logs(spec.logFolder, { follow: true, signal: stop.signal })) {
        stop.abort();
        return line.text;
      }
      return undefined;
    }
  });
}
