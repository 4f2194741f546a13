// The two ends of a copy as words of a command line.

import { Failure } from '../lib/failure.ts';

export type CopyEndpoint =
  /** Standard input or output, as a tar. */
  | { readonly kind: 'stream' }
  | { readonly kind: 'local'; readonly path: string }
  /** null: the App of the folder, any Entrypoint. */
  | { readonly kind: 'remote'; readonly app: string | null; readonly entrypoint: string | null; readonly path: string };

const NAME = '[a-z0-9](?:[a-z0-9-]{0,40})';
const REMOTE = new RegExp(`^(?:(${NAME})(?:/(${NAME}))?)?:(.*)$`, 'u');

/** `shop/web:data/x`, `:data/x`, `-`, or a path of this machine; one with a colon begins with `./` or `/`. */
export function copyEndpoint(word: string): CopyEndpoint {
  if (word === '-') return { kind: 'stream' };
  const [match, app = null, entrypoint = null, path = ''] = REMOTE.exec(word) ?? [];
  return match === undefined ? { kind: 'local', path: word } : { kind: 'remote', app, entrypoint, path };
}

export type CopyDirection =
  | {
      readonly direction: 'out';
      readonly remote: CopyEndpoint & { kind: 'remote' };
      readonly other: CopyEndpoint & { kind: 'local' | 'stream' };
    }
  | {
      readonly direction: 'in';
      readonly remote: CopyEndpoint & { kind: 'remote' };
      readonly other: CopyEndpoint & { kind: 'local' | 'stream' };
    };

export function copyDirection(from: CopyEndpoint, to: CopyEndpoint): CopyDirection {
  if (from.kind === 'remote' && to.kind !== 'remote') return { direction: 'out', remote: from, other: to };
  if (to.kind === 'remote' && from.kind !== 'remote') return { direction: 'in', remote: to, other: from };
  throw new Failure('invalid_input', {
    message: from.kind === 'remote' ? 'Both ends are Instances.' : 'Neither end is an Instance.',
    hint: 'One is of this machine, the other of an Instance: libra cp shop/web:data ./data',
  });
}
