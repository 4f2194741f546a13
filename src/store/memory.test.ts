import { storeContract } from './contract-suite.ts';
import { createMemoryStore } from './memory.ts';

storeContract(
  'the memory engine',
  async (options) => {
    const store = createMemoryStore(options);
    return { store, close: () => store.close() };
  },
  { durable: false },
);
