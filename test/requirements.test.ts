// The rule of optional suites itself: what is there never skips, what is missing skips with its reason, what is required must not skip.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lacking } from './requirements.ts';

test('what a machine lacks is a reason to skip that names what to do', () => {
  const before = process.env['PATH'];
  const required = process.env['LIBRA_TEST_REQUIRE'];
  try {
    process.env['PATH'] = '/nonexistent';
    delete process.env['LIBRA_TEST_REQUIRE'];
    assert.equal(lacking('setpriv'), 'needs setpriv: apt-get install util-linux');
  } finally {
    process.env['PATH'] = before;
    if (required !== undefined) process.env['LIBRA_TEST_REQUIRE'] = required;
  }
});

test('where the environment names it as required, missing is a failure', () => {
  const before = { path: process.env['PATH'], required: process.env['LIBRA_TEST_REQUIRE'] };
  try {
    process.env['PATH'] = '/nonexistent';
    process.env['LIBRA_TEST_REQUIRE'] = 'python3,setpriv';
    assert.throws(() => lacking('setpriv'), /LIBRA_TEST_REQUIRE names setpriv, and it is missing: apt-get install util-linux/u);
  } finally {
    process.env['PATH'] = before.path;
    if (before.required === undefined) delete process.env['LIBRA_TEST_REQUIRE'];
    else process.env['LIBRA_TEST_REQUIRE'] = before.required;
  }
});

test('root is what lacking says it is', { skip: lacking('root') }, () => {
  assert.equal(process.getuid?.(), 0);
});
