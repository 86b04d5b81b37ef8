"""Which offers are worth a call: adverts, what their cars should cost, what their photos say."""
