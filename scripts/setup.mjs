// Installs what the checkout needs, once per lockfile, before `npm start` and `npm test`. Runs on any Node since 18, because the
// pinned one may not be there yet; several starters at once install one after the other.

import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, openSync, closeSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, 'node_modules');
const stamp = join(modules, '.libra-installed');
const lock = join(root, '.libra-install.lock');
const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .update(`${process.platform} ${process.arch}`)
  .digest('hex');

const installed = () => existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted;

/** True when the lock is ours; a lock whose owner is dead is taken over. */
function takeLock() {
  try {
    const descriptor = openSync(lock, 'wx');
    writeFileSync(descriptor, String(process.pid));
    closeSync(descriptor);
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    try {
      const owner = Number(readFileSync(lock, 'utf8'));
      const fresh = Date.now() - statSync(lock).mtimeMs < 2000;
      if (owner > 0) process.kill(owner, 0);
      else if (!fresh) rmSync(lock, { force: true });
    } catch (dead) {
      if (dead.code === 'ESRCH' || dead.code === 'ENOENT') rmSync(lock, { force: true });
    }
    return false;
  }
}

const pause = (milliseconds) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);

if (!installed()) {
  const deadline = Date.now() + 10 * 60_000;
  while (!takeLock()) {
    if (Date.now() > deadline) {
      console.error(`libra: another installation holds ${lock} for ten minutes. If none runs, delete that file and try again.`);
      process.exit(1);
    }
    pause(200);
  }
  try {
    if (!installed()) {
      process.stderr.write('Installing dependencies (once, about ten seconds) …\n');
      const npm = process.env.npm_execpath;
      const node = process.env.npm_node_execpath ?? process.execPath;
      const flags = ['install', '--ignore-scripts', '--loglevel=error', '--no-audit', '--no-fund', '--no-update-notifier'];
      const result = npm
        ? spawnSync(node, [npm, ...flags], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] })
        : spawnSync('npm', flags, { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
      if (result.status !== 0) {
        console.error('libra: `npm install` failed; the lines above say why. Without a network, bring node_modules along and try again.');
        process.exit(1);
      }
      mkdirSync(modules, { recursive: true });
      writeFileSync(stamp, wanted);
    }
  } finally {
    rmSync(lock, { force: true });
  }
}
