import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { diagnose } from './diagnosis.ts';
import type { Observation } from './diagnosis.ts';

function seen(part: Partial<Observation>): Observation {
  return {
    instanceId: 'i',
    entrypoint: 'web',
    command: ['node', 'server.js'],
    service: true,
    exit: null,
    probe: null,
    lastLines: [],
    expectedPort: 20_001,
    sockets: null,
    inContainer: false,
    memoryLimitBytes: 256 * 2 ** 20,
    ...part,
  };
}

const ended = (code: number | null, lastLines: readonly string[] = [], signal: string | null = null): Observation =>
  seen({ exit: { code, signal, outOfMemory: false }, lastLines });

test('the wordings of many languages for a missing variable are understood', () => {
  for (const line of [
    "KeyError: 'DATABASE_URL'",
    'Error: environment variable DATABASE_URL is not set',
    'Missing required environment variable: DATABASE_URL',
    'DATABASE_URL is not defined',
    'Error: DATABASE_URL must be set',
    'fatal: required key DATABASE_URL missing value',
    'start.sh: line 3: DATABASE_URL: unbound variable',
    'sh: 1: DATABASE_URL: parameter not set',
    '`fetch`: key not found: "DATABASE_URL" (KeyError)',
    "Could not resolve placeholder 'DATABASE_URL' in value",
    'env variable "DATABASE_URL" is required',
  ]) {
    const reason = diagnose(ended(1, ['starting', line, '    at main (server.js:3:1)']));
    assert.equal(reason.code, 'missing_variable', line);
    assert.match(reason.message, /DATABASE_URL/u);
    assert.match(reason.hint ?? '', /libra env set DATABASE_URL=/u);
  }
});

test('a mistake in the program is not told as a missing variable', () => {
  for (const line of [
    'ReferenceError: foo is not defined',
    'ReferenceError: MAX_SIZE is not defined',
    'TypeError: x is undefined',
    'name is required',
  ]) {
    assert.equal(diagnose(ended(1, [line])).code, 'exited', line);
  }
});

test('a port in use, a full disk and a full heap are read from the output', () => {
  const taken = diagnose(ended(1, ['Error: listen EADDRINUSE: address already in use :::8080']));
  assert.equal(taken.code, 'port_taken');
  assert.match(taken.message, /port 8080/u);
  assert.equal(diagnose(ended(1, ['OSError: [Errno 98] Address already in use'])).code, 'port_taken');
  assert.equal(diagnose(ended(1, ['Error: ENOSPC: no space left on device, write'])).code, 'disk_quota');
  assert.equal(
    diagnose(ended(134, ['FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory'])).code,
    'out_of_memory',
  );
});

test('a package that was not installed leads to the build', () => {
  for (const line of [
    "Error: Cannot find module 'express'",
    "ModuleNotFoundError: No module named 'flask'",
    "Cannot find package 'ws' imported from /x",
  ]) {
    const reason = diagnose(ended(1, [line]));
    assert.equal(reason.code, 'exited');
    assert.match(reason.message, /express|flask|ws/u);
    assert.match(reason.hint ?? '', /build/u);
  }
});

test('a file of the App that is not there leads to the command and the folder', () => {
  for (const name of ['/srv/work/nothing.js', './lib/missing.mjs']) {
    assert.match(diagnose(ended(1, [`Error: Cannot find module '${name}'`])).hint ?? '', /command and the folder/u);
  }
  assert.match(diagnose(ended(1, ["Error: Cannot find module 'lodash/fp'"])).hint ?? '', /npm, ci/u);
});

test('exit codes and signals are told for what they mean', () => {
  assert.equal(diagnose(ended(127)).code, 'command_not_found');
  assert.equal(diagnose(ended(126)).code, 'command_not_found');
  assert.equal(diagnose(ended(null, [], 'SIGKILL')).code, 'killed');
  assert.match(diagnose(ended(null, [], 'SIGSEGV')).message, /SIGSEGV/u);
  assert.match(diagnose(ended(0)).message, /ended by itself with exit code 0/u);
  assert.match(diagnose(ended(3)).message, /exit code 3/u);
  const oom = diagnose(seen({ exit: { code: null, signal: 'SIGKILL', outOfMemory: true } }));
  assert.equal(oom.code, 'out_of_memory');
  assert.match(oom.message, /256Mi/u);
});

const refused = { kind: 'http', path: '/', status: null, problem: 'refused' } as const;

test('a program that listens elsewhere is told where', () => {
  const wrong = diagnose(seen({ probe: refused, sockets: [{ host: '0.0.0.0', port: 3000 }] }));
  assert.equal(wrong.code, 'wrong_port');
  assert.match(wrong.message, /20001.*3000/u);
  assert.match(wrong.hint ?? '', /port: 3000/u);
  const guessed = diagnose(seen({ probe: refused, lastLines: ['Server listening on http://localhost:3000'] }));
  assert.equal(guessed.code, 'wrong_port');
  const right = diagnose(seen({ probe: refused, lastLines: ['Server listening on http://localhost:20001'] }));
  assert.equal(right.code, 'never_listened');
});

test('127.0.0.1 is a mistake inside a container and fine outside', () => {
  const sockets = [{ host: '127.0.0.1', port: 20_001 }];
  assert.equal(diagnose(seen({ probe: refused, sockets, inContainer: true })).code, 'wrong_address');
  assert.notEqual(diagnose(seen({ probe: refused, sockets, inContainer: false })).code, 'wrong_address');
  assert.notEqual(
    diagnose(seen({ probe: refused, sockets: [...sockets, { host: '0.0.0.0', port: 20_001 }], inContainer: true })).code,
    'wrong_address',
  );
});

test('health checks that fail are told by how they fail', () => {
  const status = (code: number) => diagnose(seen({ probe: { kind: 'http', path: '/healthz', status: code, problem: 'status' } }));
  assert.equal(status(404).code, 'health_status');
  assert.match(status(404).hint ?? '', /Is \/healthz the right path/u);
  assert.match(status(401).hint ?? '', /no credentials/u);
  assert.match(status(302).hint ?? '', /Redirects/u);
  assert.match(status(500).hint ?? '', /fails inside/u);
  const sockets = [{ host: '::', port: 20_001 }];
  assert.equal(diagnose(seen({ sockets, probe: { kind: 'tcp', problem: 'timeout' } })).code, 'health_timeout');
  assert.match(diagnose(seen({ sockets, probe: { ...refused, problem: 'broken' } })).hint ?? '', /TLS/u);
  assert.equal(diagnose(seen({ probe: { kind: 'command', exitCode: 2, output: 'no' } })).code, 'health_command');
  assert.equal(diagnose(seen({ probe: refused, sockets: [] })).code, 'never_listened');
});

test('the last lines are kept, and bounded', () => {
  const reason = diagnose(
    ended(
      1,
      Array.from({ length: 100 }, (_, index) => `${index} ${'x'.repeat(1000)}`),
    ),
  );
  assert.equal(reason.lastLines.length, 20);
  assert.ok(reason.lastLines.every((line) => line.length <= 500));
  assert.match(reason.lastLines.at(-1) ?? '', /^99 /u);
});

test('no output at all makes the diagnosis throw or take long', () => {
  const units = fc.constantFrom(
    'environment variable ',
    'A',
    '_',
    ':',
    ' ',
    'EADDRINUSE',
    'not set',
    "'",
    'listening ',
    '8',
    'missing ',
    '\n',
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.string(), fc.string({ unit: units, maxLength: 200 })), { maxLength: 30 }), (lastLines) => {
      assert.ok(diagnose(ended(1, lastLines)).message.length > 0);
      assert.ok(diagnose(seen({ probe: refused, lastLines })).message.length > 0);
    }),
  );
  const startedMs = performance.now();
  for (const unit of ['A_', 'environment variable ', 'EADDRINUSE', 'listening ', 'A'.repeat(60) + ' '])
    diagnose(
      ended(
        1,
        Array.from({ length: 200 }, () => unit.repeat(500)),
      ),
    );
  assert.ok(performance.now() - startedMs < 3000);
});
