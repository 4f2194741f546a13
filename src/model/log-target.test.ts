import assert from 'node:assert/strict';
import { test } from 'node:test';
import { logTargetName, parseLogTarget } from './log-target.ts';

test('a target is one URL of a kind that is known', () => {
  assert.deepEqual(parseLogTarget('https://logs.example.com/in?x=1'), { kind: 'http', url: 'https://logs.example.com/in?x=1' });
  assert.deepEqual(parseLogTarget('tcp://10.0.0.1:5170'), { kind: 'tcp', host: '10.0.0.1', port: 5170, format: 'json' });
  assert.deepEqual(parseLogTarget('udp://[::1]:5170'), { kind: 'udp', host: '::1', port: 5170, format: 'json' });
  assert.deepEqual(parseLogTarget('syslog://logs'), { kind: 'tcp', host: 'logs', port: 514, format: 'syslog' });
  assert.deepEqual(parseLogTarget('syslog+udp://logs:1514/'), { kind: 'udp', host: 'logs', port: 1514, format: 'syslog' });
  assert.deepEqual(parseLogTarget('file:///var/log/apps%20all.json'), { kind: 'file', path: '/var/log/apps all.json' });
});

test('what is none says why', () => {
  for (const text of [
    '',
    'logs.example.com',
    'tcp://logs',
    'udp://:1',
    'tcp://logs:1/x',
    'file://other/x',
    'file:///',
    'ftp://x',
    'https://me:pw@x/',
  ])
    assert.equal(typeof parseLogTarget(text), 'string', text);
  const refused = parseLogTarget('https://me:pw@x/');
  assert.ok(typeof refused === 'string' && refused.includes('headers file'));
});

test('its name is a target too, and holds no key', () => {
  for (const [text, name] of [
    ['https://logs.example.com/in?key=x#y', 'https://logs.example.com/in'],
    ['syslog://[::1]', 'syslog+tcp://[::1]:514'],
    ['syslog+udp://logs', 'syslog+udp://logs:514'],
    ['tcp://logs:1', 'tcp://logs:1'],
    ['file:///a/b', 'file:///a/b'],
  ] as const) {
    const target = parseLogTarget(text);
    assert.ok(typeof target !== 'string');
    assert.equal(logTargetName(target), name);
  }
});
