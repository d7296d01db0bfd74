-- What a tenant may send in a day, besides how many readings.

ALTER TABLE tenants ADD COLUMN day_received_bytes_max bigint CHECK (day_received_bytes_max >= 0);
COMMENT ON COLUMN tenants.day_received_bytes_max IS
    'Quota: bytes of bodies with readings, as they were sent, in a UTC day of their arrival; NULL for none.';
