// Values at rest: AES-256-GCM under a data key of their own, which is wrapped by the platform's master key. The associated data binds a
// sealed text to its record and version, so that a record moved or copied to another place does not open (invariant 8).

import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import { constants, link, mkdir, open, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Random } from '../../lib/id.ts';
import { Failure } from '../../lib/failure.ts';

const FORMAT = 1;
const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;
const KEY_ID_BYTES = 8;
const WRAPPED_AT = 1 + KEY_ID_BYTES;
const BODY_AT = WRAPPED_AT + IV_BYTES + TAG_BYTES + KEY_BYTES;

export interface Sealer {
  /** Base64url envelope: format byte, id of the master key, wrapped data key, sealed value. */
  seal(plain: Uint8Array, associated: string): string;
  /** Throws `storage_failed` where the envelope was changed, belongs elsewhere, or was sealed with another master key. */
  open(envelope: string, associated: string): Buffer;
}

/** `masterKey`: 32 bytes. */
export function createSealer(masterKey: Uint8Array, random: Random): Sealer {
  if (masterKey.length !== KEY_BYTES) throw new Failure('internal', { message: 'A master key has 32 bytes.' });
  const keyId = createHash('sha256').update('libra master key').update(masterKey).digest().subarray(0, KEY_ID_BYTES);
  return {
    seal: (plain, associated) => {
      const dataKey = random.bytes(KEY_BYTES);
      const wrapped = encrypt(masterKey, dataKey, `key ${associated}`, random);
      const body = encrypt(dataKey, plain, associated, random);
      return Buffer.concat([Buffer.of(FORMAT), keyId, wrapped, body]).toString('base64url');
    },
    open: (envelope, associated) => {
      const bytes = Buffer.from(envelope, 'base64url');
      if (bytes.length < BODY_AT + IV_BYTES + TAG_BYTES || bytes[0] !== FORMAT) throw damaged(associated);
      if (!bytes.subarray(1, WRAPPED_AT).equals(keyId)) {
        throw new Failure('storage_failed', {
          message: `The value ${associated} was sealed with another master key.`,
          hint: 'Put the master.key of the same backup as the store into the data folder.',
        });
      }
      try {
        const dataKey = decrypt(masterKey, bytes.subarray(WRAPPED_AT, BODY_AT), `key ${associated}`);
        return decrypt(dataKey, bytes.subarray(BODY_AT), associated);
      } catch (cause) {
        throw damaged(associated, cause);
      }
    },
  };
}

function damaged(associated: string, cause?: unknown): Failure {
  return new Failure('storage_failed', {
    message: `The sealed value ${associated} is damaged or does not belong there.`,
    hint: 'Set the value again.',
    cause,
  });
}

function encrypt(key: Uint8Array, plain: Uint8Array, associated: string, random: Random): Buffer {
  const iv = random.bytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(associated));
  const sealed = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), sealed]);
}

function decrypt(key: Uint8Array, bytes: Buffer, associated: string): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(associated));
  decipher.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
  return Buffer.concat([decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
}

/**
 * The platform's master key from its file (64 hex digits and a line end, mode 0600); made at the first start, whole or not at all.
 * Throws `storage_failed` where others can read the file, where its content is not a key, which is never replaced, and where it is missing
 * although the platform has one.
 */
export async function loadMasterKey(file: string, random: Random, { isFirst }: { readonly isFirst: boolean }): Promise<Buffer> {
  const key = await readKey(file);
  if (key !== null) return key;
  if (isFirst) return await makeKey(file, random);
  throw new Failure('storage_failed', {
    message: `The store holds a platform already, and its master key is not there: ${file} is missing.`,
    hint: 'Copy master.key from the data folder of a control plane that uses this store, or from a backup; mode 600.',
  });
}

async function readKey(file: string): Promise<Buffer | null> {
  let handle;
  try {
    handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return null;
    throw new Failure('storage_failed', { message: `The master key ${file} cannot be read.`, cause });
  }
  try {
    const info = await handle.stat();
    if (!info.isFile() || (info.mode & 0o077) !== 0) {
      throw new Failure('storage_failed', {
        message: `The master key ${file} can be read by others (mode ${(info.mode & 0o777).toString(8)}).`,
        hint: `chmod 600 ${file}; then consider every Secret of this platform as known.`,
      });
    }
    const text = info.size <= 100 ? (await handle.readFile('latin1')).trimEnd() : '';
    if (!/^[0-9a-f]{64}$/u.test(text)) {
      throw new Failure('storage_failed', {
        message: `The master key ${file} does not hold 64 hex digits.`,
        hint: 'Restore it from a backup: without it no Secret can be opened.',
      });
    }
    return Buffer.from(text, 'hex');
  } finally {
    await handle.close();
  }
}

async function makeKey(file: string, random: Random): Promise<Buffer> {
  const key = Buffer.from(random.bytes(KEY_BYTES));
  const draft = `${file}.${Buffer.from(random.bytes(6)).toString('hex')}`;
  await mkdir(dirname(file), { recursive: true });
  const handle = await open(draft, 'wx', 0o600);
  try {
    await handle.writeFile(`${key.toString('hex')}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  try {
    // link, not rename: where another start was faster, its key stays.
    await link(draft, file);
  } catch (cause) {
    if (!isErrno(cause, 'EEXIST')) throw new Failure('storage_failed', { message: `The master key ${file} cannot be written.`, cause });
    const winner = await readKey(file);
    if (winner !== null) return winner;
    throw new Failure('storage_failed', { message: `The master key ${file} vanished while it was read.`, cause });
  } finally {
    await unlink(draft);
  }
  const folder = await open(dirname(file), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  return key;
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
