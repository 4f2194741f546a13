console.log('report of', new Date().toISOString());
