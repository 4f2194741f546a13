import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { linkInto } from './volumes.ts';

const STRANGER = 234_567;

/** Swaps the folder `d` and a link to the outside for each other, as fast as it can. */
const ATTACKER = `
const fs = require('node:fs');
const [outside] = process.argv.slice(1);
const attempt = (work) => { try { work(); } catch {} };
process.stdout.write('ready');
for (let n = 0; ; n += 1) {
  attempt(() => fs.renameSync('d', 'd' + n));
  attempt(() => fs.symlinkSync(outside, 'd'));
  attempt(() => fs.unlinkSync('d'));
  attempt(() => fs.renameSync('d' + n, 'd'));
}`;

test(
  'an Instance that swaps folders for links cannot make the agent link anything outside',
  { skip: process.getuid?.() === 0 ? false : 'only root links into folders of other users' },
  async () => {
    const base = mkdtempSync(join(tmpdir(), 'libra-link-'));
    chmodSync(base, 0o711);
    const [work, outside] = [join(base, 'work'), join(base, 'outside')];
    for (const folder of [work, outside, join(work, 'd')]) mkdirSync(folder);
    for (const folder of [work, join(work, 'd')]) chownSync(folder, STRANGER, STRANGER);
    const attacker = spawn(process.execPath, ['-e', ATTACKER, outside], {
      cwd: work,
      uid: STRANGER,
      gid: STRANGER,
      env: {},
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    try {
      await once(attacker.stdout, 'data');
      let linked = 0;
      for (let index = 0; index < 2000; index += 1) {
        // What is not a folder in this moment is refused.
        await linkInto(work, `/d/key-${index}`, '/target').then(
          () => (linked += 1),
          () => undefined,
        );
      }
      assert.ok(linked > 0);
      assert.deepEqual(readdirSync(outside), []);
    } finally {
      attacker.kill('SIGKILL');
      rmSync(base, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    }
  },
);
