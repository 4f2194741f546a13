import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { formatDuration, parseDurationMs } from './duration.ts';
import { formatBytes, formatCpu, parseBytes, parseCpu } from './quantity.ts';

test('amounts of bytes are read in binary and decimal units', () => {
  assert.equal(parseBytes('256Mi'), 256 * 2 ** 20);
  assert.equal(parseBytes('1Gi'), 2 ** 30);
  assert.equal(parseBytes('1.5G'), 1_500_000_000);
  assert.equal(parseBytes('1024'), 1024);
  assert.equal(parseBytes('10KiB'), 10_240);
});

test('what is no amount of bytes is refused', () => {
  for (const text of ['', '-1', '1 Mi', 'Mi', '1e9', '0x10', '1.Mi', '1mi', '99999999999999999', '9999999999Ti'])
    assert.equal(parseBytes(text), null, text);
});

test('printed bytes parse back to the same number', () => {
  fc.assert(fc.property(fc.nat(Number.MAX_SAFE_INTEGER), (bytes) => parseBytes(formatBytes(bytes)) === bytes));
  fc.assert(
    fc.property(
      fc.nat(4096),
      fc.constantFrom(2 ** 10, 2 ** 20, 2 ** 30, 2 ** 40),
      (count, unit) => parseBytes(formatBytes(count * unit)) === count * unit,
    ),
  );
});

test('cores are read as decimals and thousandths', () => {
  assert.equal(parseCpu('0.5'), 0.5);
  assert.equal(parseCpu('500m'), 0.5);
  assert.equal(parseCpu('2'), 2);
  for (const text of ['', '-1', '0.12345', '1.5m', 'two', '1 m']) assert.equal(parseCpu(text), null, text);
});

test('printed cores parse back to the same number', () => {
  fc.assert(fc.property(fc.nat(1_000_000), (thousandths) => parseCpu(formatCpu(thousandths / 1000)) === thousandths / 1000));
});

test('durations are read in days, hours, minutes, seconds and milliseconds, in that order', () => {
  assert.equal(parseDurationMs('5s'), 5000);
  assert.equal(parseDurationMs('1m30s'), 90_000);
  assert.equal(parseDurationMs('500ms'), 500);
  assert.equal(parseDurationMs('1.5h'), 5_400_000);
  assert.equal(parseDurationMs('2d'), 172_800_000);
  assert.equal(parseDurationMs('0'), 0);
});

test('what is no duration is refused, a bare number too', () => {
  for (const text of ['', '5', '5 s', 's', '-5s', '1s1m', '1.5ms', '5sec', '1e3s', '99999999999999999s'])
    assert.equal(parseDurationMs(text), null, text);
});

test('printed durations parse back to the same number', () => {
  fc.assert(fc.property(fc.nat(2 ** 45), (ms) => parseDurationMs(formatDuration(ms)) === ms));
});

test('no text at all makes the readers throw', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const value of [parseBytes(text), parseCpu(text), parseDurationMs(text)])
        assert.ok(value === null || (Number.isFinite(value) && value >= 0));
    }),
  );
});
