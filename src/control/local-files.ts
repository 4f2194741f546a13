// What this control keeps in the data folder besides the store: who this machine is, and the credentials of its own roles. Each file is
// written before its record, so that a kill between the two only makes the next start register it.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../lib/failure.ts';
import { newId } from '../lib/id.ts';
import { replaceFileDurably } from '../sys/durable-file.ts';
import { ensureToken, makeSecret } from './auth/tokens.ts';
import type { TokenPrincipal } from './auth/tokens.ts';
import type { ControlContext } from './context.ts';

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/u;

/** The id of this machine's Node, made at the first start of this data folder. */
export async function localNodeId(dataFolder: string, context: Pick<ControlContext, 'clock' | 'random'>): Promise<string> {
  const file = join(dataFolder, 'node.id');
  const kept = await readText(file);
  if (kept === null) {
    const id = newId(context.clock.now(), context.random);
    await replaceFileDurably(file, `${id}\n`);
    return id;
  }
  if (!ID.test(kept)) {
    throw new Failure('storage_failed', {
      message: `${file} does not hold the id of this Node.`,
      hint: 'Restore it from a backup. Without it this machine joins as a new Node, and what ran on the old one is lost.',
    });
  }
  return kept;
}

/** The credential of one principal, from `<data>/<kind>.token` (mode 0600), made and registered where it is missing. */
export async function localToken(
  dataFolder: string,
  context: Pick<ControlContext, 'view' | 'clock' | 'random'>,
  principal: TokenPrincipal,
): Promise<string> {
  const file = join(dataFolder, `${principal.kind}.token`);
  let secret = await readText(file);
  if (secret === null || secret === '') {
    secret = makeSecret(context, principal);
    await replaceFileDurably(file, `${secret}\n`);
  }
  return await ensureToken(context, { principal, secret });
}

async function readText(file: string): Promise<string | null> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
    throw new Failure('storage_failed', { message: `${file} cannot be read.`, cause });
  }
}
