// The commit of a folder as a label for its Release, where git is there and the folder is in a work tree.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Short commit id, with `+` where tracked files differ from it; null without git. Never throws. */
export async function gitLabel(folder: string): Promise<string | null> {
  try {
    const options = { cwd: folder, timeout: 2000, maxBuffer: 64 * 1024, windowsHide: true };
    const commit = (await run('git', ['rev-parse', '--short=10', 'HEAD'], options)).stdout.trim();
    if (!/^[0-9a-f]{7,40}$/u.test(commit)) return null;
    // A folder that the work tree around it does not hold is not of that commit.
    await run('git', ['rev-parse', '--verify', '--quiet', 'HEAD:./'], options);
    const changed = (await run('git', ['status', '--porcelain', '--untracked-files=no', '--', '.'], options)).stdout.trim();
    return changed === '' ? commit : `${commit}+`;
  } catch {
    return null;
  }
}
