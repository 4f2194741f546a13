import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { storeContract } from './contract-suite.ts';
import { openSqliteStore } from './sqlite.ts';

storeContract(
  'the sqlite engine',
  async (options) => {
    const folder = await mkdtemp(join(tmpdir(), 'libra-store-'));
    const path = join(folder, 'store.db');
    let store = await openSqliteStore({ path, ...options });
    return {
      store,
      close: async () => {
        await store.close();
        await rm(folder, { recursive: true });
      },
      reopen: async () => {
        await store.close();
        store = await openSqliteStore({ path, ...options });
        return store;
      },
    };
  },
  { durable: true },
);
