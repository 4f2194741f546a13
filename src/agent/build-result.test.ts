import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createBuildResults } from './build-result.ts';

const STRANGER = 234_567;

/** Puts a link to the outside in the place of the folder `d` for a moment, again and again: there when it is listed, gone when it is read. */
const ATTACKER = `
const fs = require('node:fs');
const [outside] = process.argv.slice(1);
const attempt = (work) => { try { work(); } catch {} };
const pause = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4 * Math.random());
process.stdout.write('ready');
for (;;) {
  pause();
  attempt(() => fs.renameSync('d', 'd2'));
  attempt(() => fs.symlinkSync(outside, 'd'));
  pause();
  attempt(() => fs.unlinkSync('d'));
  attempt(() => fs.renameSync('d2', 'd'));
}`;

test(
  'an Instance that swaps folders for links gets nothing from outside into the result of a build',
  { skip: process.getuid?.() === 0 ? false : 'only root packs folders of other users' },
  async () => {
    const base = mkdtempSync(join(tmpdir(), 'libra-result-'));
    chmodSync(base, 0o711);
    try {
      const outside = join(base, 'outside');
      mkdirSync(outside, { mode: 0o700 });
      const uploads: string[] = [];
      const results = createBuildResults(
        {
          uploadBlob: async (_digest, open) => {
            for await (const chunk of open(0)) uploads.push(String(chunk));
          },
        },
        join(base, 'results'),
      );
      for (let index = 0; index < 40; index += 1) writeFileSync(join(outside, `key-${index}`), 'PRIVATE');
      for (let round = 0; round < 25; round += 1) {
        const work = join(base, `work-${round}`);
        mkdirSync(join(work, 'd'), { recursive: true });
        for (let index = 0; index < 40; index += 1) writeFileSync(join(work, 'd', `key-${index}`), 'allowed');
        for (const folder of [join(work, 'd'), work]) chownSync(folder, STRANGER, STRANGER);
        const attacker = spawn(process.execPath, ['-e', ATTACKER, outside], {
          cwd: work,
          uid: STRANGER,
          gid: STRANGER,
          env: {},
          stdio: ['ignore', 'pipe', 'ignore'],
        });
        try {
          await once(attacker.stdout, 'data');
          // What changes under the packer may be refused.
          await results.publish(work, new AbortController().signal).catch(() => undefined);
        } finally {
          attacker.kill('SIGKILL');
        }
      }
      assert.ok(uploads.some((text) => text.includes('allowed')));
      assert.ok(!uploads.some((text) => text.includes('PRIVATE')), 'a file from outside was packed');
    } finally {
      rmSync(base, { recursive: true, force: true });
    }
  },
);
