"""The torture house: steplog's one promise, tried harder than any user would."""
