console.log(`migrated for Release ${process.env.LIBRA_RELEASE}`);
