// One writer per log folder, shared by everything that writes there: attempts of an Instance follow each other, and an old one's
// grandchildren may still talk while the next one starts.

import { openLogWriter } from '../sys/log-segments.ts';
import type { LogWriter } from '../sys/log-segments.ts';

export interface LogFolders {
  open(log: { readonly folder: string; readonly bytes: number }): LogWriter;
  /** Every `open` is released once; the last one closes the file. */
  release(folder: string): void;
}

export function createLogFolders(now: () => number): LogFolders {
  const writers = new Map<string, { readonly writer: LogWriter; users: number }>();
  return {
    open: ({ folder, bytes }) => {
      const known = writers.get(folder) ?? { writer: openLogWriter(folder, bytes, now), users: 0 };
      known.users += 1;
      writers.set(folder, known);
      return known.writer;
    },
    release: (folder) => {
      const known = writers.get(folder);
      if (known === undefined) return;
      known.users -= 1;
      if (known.users > 0) return;
      known.writer.close();
      writers.delete(folder);
    },
  };
}
