"""What perdure ships for tests of applications and of state backends. Nothing imports it back."""
